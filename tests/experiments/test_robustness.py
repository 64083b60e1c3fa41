"""The study under kills at random moments and on a disk that fills."""

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.experiments.conftest import TINY, command
from tests.posterity.test_resume import assert_same_run, manifest_of

ROOT = Path(__file__).parents[2]
MODULE = [sys.executable, "-m", "experiments.nz_calibration"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_killed_ten_times_at_random_moments(tmp_path, finished):
    """Ten kills, over as many runs as they take; every run ends as the undisturbed one did."""
    chance, kills, runs = random.Random(3), 0, 0
    while kills < 10:
        folder = tmp_path / f"run{runs}"
        while True:
            began = time.monotonic()
            process = subprocess.Popen(
                [*MODULE, *TINY, "--resume", "--output", str(folder)], cwd=ROOT, env=ENVIRONMENT,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            # moments are counted from the manifest on: before it there is nothing to lose
            while process.poll() is None and (not folder.exists() or time.monotonic() - began < 2):
                time.sleep(0.05)
            wait = chance.uniform(0.0, 20.0)
            try:
                _, said = process.communicate(timeout=wait if kills < 10 else 600)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                continue
            assert process.returncode == 0, said
            break
        assert manifest_of(folder)["status"] == "complete"
        assert_same_run(folder, finished)
        runs += 1


@pytest.mark.slow
@pytest.mark.parametrize(("size", "file"), [(200_000, "warm_start.safetensors"), (4_000_000, "jacobian.nc")])
def test_a_disk_that_fills(tmp_path, finished, size, file):
    """Files may not grow beyond a size, as on a full disk: one sentence, exit code 2, and the run can be resumed."""
    folder = tmp_path / "run"

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    process = subprocess.run(
        [*MODULE, *TINY, "--output", str(folder)], cwd=ROOT, env=ENVIRONMENT, preexec_fn=limit, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    last = process.stderr.strip().splitlines()[-1]
    assert process.returncode == 2, process.stderr
    assert last.startswith(f"{folder / file} could not be written")
    assert "Traceback" not in process.stderr
    assert {p.name for p in folder.glob(".*")} <= {".lock"}
    result = command(*TINY, "--resume", "--output", folder)
    assert result.code == 0, result.stderr
    assert_same_run(folder, finished)
