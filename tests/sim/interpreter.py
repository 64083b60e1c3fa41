"""Statements in triton's interpreter, on the CPU: in a process of their own, since it must be asked for before triton is imported."""

import json
import os
import subprocess
import sys

EACH = """
import json, sys, traceback
from unittest.mock import patch
said = {}
for name, text in json.load(sys.stdin).items():
    try:
        exec(text, {})
        said[name] = ""
    except BaseException:
        said[name] = traceback.format_exc()
    patch.stopall()
print(json.dumps(said))
"""


def failures_of(texts: dict[str, str]) -> dict[str, str]:
    """What went wrong in each text, all run in one process, which imports and compiles once.

    Each text has names of its own; what it changes in a module by `patch(...).start()` is undone after it.
    """
    done = subprocess.run(
        [sys.executable, "-c", EACH], input=json.dumps(texts), capture_output=True, text=True,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def interpreted(text: str) -> None:
    """Run statements; what went wrong in them is shown."""
    failure = failures_of({"statements": text})["statements"]
    assert not failure, failure[-3000:]
