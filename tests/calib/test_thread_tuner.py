"""The number of threads is the one that was quickest, and nothing else changes."""

import os
import subprocess
import sys

import numba
import pytest

from calib._thread_tuner import TRIES, ThreadTuner


def tried(seconds):
    tuner = ThreadTuner(8)
    tuner.seconds = {threads: [time] * TRIES for threads, time in seconds.items()}
    return tuner


def test_all_numbers_are_tried_first_and_the_smallest_first():
    tuner = ThreadTuner(8)
    assert tuner.choose(4) == 1
    tuner.seconds = {1: [1.0] * TRIES, 2: [0.5] * (TRIES - 1)}
    assert tuner.choose(4) == 2


@pytest.mark.parametrize(
    ("seconds", "limit", "best"),
    [({1: 4.0, 2: 2.0, 4: 1.0, 8: 3.0}, 8, 4), ({1: 1.0, 2: 2.0, 4: 3.0}, 4, 1), ({1: 4.0, 2: 2.0, 4: 1.0}, 3, 2)],
)
def test_the_quickest_within_the_limit_is_taken(seconds, limit, best):
    assert tried(seconds).choose(limit) == best


def test_one_call_held_up_does_not_count():
    tuner = tried({1: 1.0, 2: 0.5})
    tuner.seconds[2][0] = 60.0
    assert tuner.choose(2) == 2


def test_the_threads_are_as_before_also_after_an_error():
    before, tuner, calls = numba.get_num_threads(), ThreadTuner(1), []
    assert tuner(lambda: calls.append(numba.get_num_threads()) or "done") == "done"
    assert calls == [1]
    with pytest.raises(ZeroDivisionError):
        tuner(lambda: 1 / 0)
    assert numba.get_num_threads() == before


@pytest.mark.parametrize("room", ["calib._thread_tuner", "sim._compiled"])
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
