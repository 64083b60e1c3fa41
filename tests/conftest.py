"""Fixtures shared by all rooms, threads, and the order of files."""

import os

# Two processes run the tests side by side, so each gets one thread for tensors; what tests start inherits it. Set before torch reads it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The threads of compiled kernels are as many as the cores in each process: those that wait sleep, and leave the core to the other process.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
FIRST = (
    # one process compiles the epidemic's kernels while the other compiles those of the emulator; each then finds the other's on disk
    "sim/test_primitive.py", "calib/multifidelity/test_run.py", "sim/test_removals.py", "calib/multifidelity/test_front_door.py",
    # long files, so that neither process waits for the other at the end
    "posterity/test_resume.py", "posterity/test_ask.py", "sim/test_triton.py", "experiments/test_report.py",
    "experiments/test_sensitivity_report.py", "experiments/test_what_if_doses.py", "sim/test_triton_removals.py",
    "experiments/test_gradient_audit.py", "calib/test_update.py", "calib/test_fit.py", "ode/test_kernel.py", "experiments/test_problem.py",
)  # fmt: skip
"""Files run first, in this order."""
NEW_STUDY = ("--smoke", "--max-steps", "6", "--draws", "10", "--scale", "0.2", "--warm-start", "2", "--threads", "1")
"""Settings of the smallest run of the study that `posterity new` writes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put some files first; the order within a file stays."""
    rank = {ROOT / "tests" / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@contextmanager
def double_precision() -> Iterator[None]:
    """For fixtures of a module or the session: they are made before the fixture that sets the dtype of a test."""
    import torch  # in functions: the process that only hands out tests never needs it

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.fixture(autouse=True, scope="session")
def _threads():
    import numba
    import torch

    # also after Numba has started its own (`calib.numerics.kernel_threads`)
    numba.get_num_threads()
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _float64():
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker: str) -> Path:
    """A folder that all processes of one test run see."""
    base = tmp_path_factory.getbasetemp()
    return base if worker == "master" else base.parent


@pytest.fixture(scope="session")
def new_study(tmp_path_factory, worker_id) -> tuple[Path, dict]:
    """A user's folder and what the command printed: a new study `my_study`, its finished run `run`, and a file `sim.py` in the way.

    Made once, by commands in processes of their own; tests leave the folder as it is or copy it.
    """
    place = shared_folder(tmp_path_factory, worker_id) / "user"
    printed = place.with_suffix(".json")
    with FileLock(place.with_suffix(".lock")):
        if not printed.exists():
            place.mkdir()
            (place / "sim.py").write_text("raise RuntimeError('the file of the user was imported')\n")
            commands = (("new", "my_study"), ("calibrate", "my_study", *NEW_STUDY, "-o", "run", "--json"))
            for arguments in commands:
                done = subprocess.run(
                    [sys.executable, "-m", "posterity", *arguments], cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)},
                    capture_output=True, text=True, timeout=600, check=False,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return place, json.loads(printed.read_text())
