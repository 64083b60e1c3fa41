"""One fit over two processes: the same numbers as one, and a rank that dies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calib._distributed import Team
from tests.calib.split_fit import fitted, raises, simulate

ROOT = Path(__file__).parents[2]
SCRIPT = "tests.calib.split_fit"


def torchrun(folder, mode, ranks):
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m", SCRIPT, folder, mode],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_parts_are_even_and_in_order():
    for size in (1, 2, 3, 7):
        parts = Team(0, size, torch.device("cpu")).parts(5)
        assert [i for p in parts for i in range(5)[p]] == list(range(5))
        lengths = [p.stop - p.start for p in parts]
        assert max(lengths) - min(lengths) <= 1


def test_outside_of_torchrun_there_is_no_team():
    assert Team.join() is None


@pytest.mark.slow
def test_a_death_ends_the_run_and_one_process_goes_on_to_the_same_fit(tmp_path):
    """Bit for bit: 11 steps of 5 particles as 2 + 3, a rank killed in the next, the rest alone; and all of it alone."""
    died = torchrun(tmp_path, "die", 2)
    assert died.returncode != 0
    assert "rank 1 of this run died" in (tmp_path / "message.txt").read_text()
    assert "resume it" in died.stderr
    steps = json.loads((tmp_path / "fit" / "checkpoint.json").read_text())["steps"]
    assert steps == 11  # the steps before the one in which it died: nothing is lost
    assert fitted(tmp_path / "fit", simulate) == fitted(tmp_path / "alone", simulate)


@pytest.mark.slow
def test_whole_fits_by_two_and_three_processes_that_raise(tmp_path):
    """A simulator that raises on a rank is a failed particle there as here."""
    alone = fitted(tmp_path / "alone", raises)
    assert alone["dropped"] > 0
    for ranks in (2, 3):
        folder = tmp_path / str(ranks)
        process = torchrun(folder, "raise", ranks)
        assert process.returncode == 0, process.stderr
        found = json.loads((folder / "found.json").read_text())
        assert found["weights"] == alone["weights"]
        assert sum(found["errors"].values()) == found["dropped"] == alone["dropped"]
        assert all("the solver failed" in text for text in found["errors"])
