"""Studies side by side end with their caller, however it is ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from experiments._studies import side_by_side

ROOT = Path(__file__).parents[2]
SCRIPT = """
import subprocess, sys
from rich.console import Console
from experiments._studies import side_by_side

def job(stop):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    sys.stdout.write(f"{process.pid}\\n")  # in one piece: two threads write
    sys.stdout.flush()
    stop.wait()
    process.kill()
    process.wait()

list(side_by_side([job, job], 2, "sleepers", Console(stderr=True)))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_caller_that_is_ended_ends_its_studies(how):
    # as a shell starts what it puts in the background: deaf to the keyboard
    caller = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    try:
        assert caller.stdout is not None
        children = [int(caller.stdout.readline()) for _ in range(2)]
        caller.send_signal(how)
        assert caller.wait(timeout=30) != 0
        for child in children:
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)
    finally:
        caller.kill()


def test_an_interrupt_while_studies_begin_ends_those_that_have_begun():
    ended = []

    class Interrupted(list):
        def __iter__(self):
            yield self[0]
            raise KeyboardInterrupt

    jobs = Interrupted([lambda stop: ended.append(stop.wait(20))])
    with pytest.raises(KeyboardInterrupt):
        list(side_by_side(jobs, 1, "waiting", Console(quiet=True)))
    assert ended == [True]
