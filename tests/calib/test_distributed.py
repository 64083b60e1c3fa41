"""One fit over two processes: the same numbers as one, and a rank that dies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calib._distributed import Team

ROOT = Path(__file__).parents[2]
SCRIPT = "tests.calib.split_fit"


def run(folder, mode, ranks):
    folder.mkdir(exist_ok=True)
    start = (
        ["-m"] if ranks == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
    )
    process = subprocess.run(
        [sys.executable, *start, SCRIPT, str(folder), mode],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return process


def found(folder):
    return json.loads((folder / "found.json").read_text())


def test_parts_are_even_and_in_order():
    for size in (1, 2, 3, 7):
        parts = Team(0, size, torch.device("cpu")).parts(5)
        assert [i for p in parts for i in range(5)[p]] == list(range(5))
        lengths = [p.stop - p.start for p in parts]
        assert max(lengths) - min(lengths) <= 1


def test_outside_of_torchrun_there_is_no_team():
    assert Team.join() is None


def test_two_processes_a_death_and_one_process_give_the_same_fit(tmp_path):
    """Bit for bit: 5 particles as 2 + 3; a rank killed at step 12; resumed alone."""
    alone, two = tmp_path / "alone", tmp_path / "two"
    one = run(alone, "fit", 1)
    assert one.returncode == 0, one.stderr
    died = run(two, "die", 2)
    assert died.returncode != 0
    assert "rank 1 of this run died" in (two / "message.txt").read_text()
    assert "resume it" in died.stderr
    steps = json.loads((two / "fit" / "checkpoint.json").read_text())["steps"]
    assert steps == 11  # the steps before the one in which it died: nothing is lost
    resumed = run(two, "fit", 1)
    assert resumed.returncode == 0, resumed.stderr
    assert found(two) == found(alone)


@pytest.mark.slow
def test_whole_fits_by_two_and_three_processes_that_raise(tmp_path):
    """A simulator that raises on a rank is a failed particle there as here."""
    results = []
    for ranks in (1, 2, 3):
        process = run(tmp_path / str(ranks), "raise", ranks)
        assert process.returncode == 0, process.stderr
        results.append(found(tmp_path / str(ranks)))
    assert results[0]["dropped"] > 0
    assert results[0]["weights"] == results[1]["weights"] == results[2]["weights"]
    assert all(sum(r["errors"].values()) == results[0]["dropped"] for r in results)
    assert all("the solver failed" in text for r in results for text in r["errors"])
