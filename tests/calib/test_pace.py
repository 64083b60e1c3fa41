"""The number of threads is the one that was quickest, and nothing else changes."""

import os
import subprocess
import sys

import numba
import pytest

from calib._pace import TRIES, Pace


def tried(seconds):
    pace = Pace(8)
    pace.seconds = {threads: [time] * TRIES for threads, time in seconds.items()}
    return pace


def test_all_numbers_are_tried_first_and_the_smallest_first():
    pace = Pace(8)
    assert pace.choose(4) == 1
    pace.seconds = {1: [1.0] * TRIES, 2: [0.5] * (TRIES - 1)}
    assert pace.choose(4) == 2


@pytest.mark.parametrize(
    ("seconds", "limit", "best"),
    [({1: 4.0, 2: 2.0, 4: 1.0, 8: 3.0}, 8, 4), ({1: 1.0, 2: 2.0, 4: 3.0}, 4, 1), ({1: 4.0, 2: 2.0, 4: 1.0}, 3, 2)],
)
def test_the_quickest_within_the_limit_is_taken(seconds, limit, best):
    assert tried(seconds).choose(limit) == best


def test_one_call_held_up_does_not_count():
    pace = tried({1: 1.0, 2: 0.5})
    pace.seconds[2][0] = 60.0
    assert pace.choose(2) == 2


def test_the_threads_are_as_before_also_after_an_error():
    before, pace, seen = numba.get_num_threads(), Pace(1), []
    assert pace(lambda: seen.append(numba.get_num_threads()) or "done") == "done"
    assert seen == [1]
    with pytest.raises(ZeroDivisionError):
        pace(lambda: 1 / 0)
    assert numba.get_num_threads() == before


@pytest.mark.parametrize("room", ["calib._pace", "sim._compiled"])
def test_the_threads_of_tensor_operations_stay_what_they_are(room):
    # Numba starts its threads once a process
    text = f"""
import torch
from {room} import kernel_threads
torch.set_num_threads(1)
assert kernel_threads() == 3 and torch.get_num_threads() == 1
"""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
