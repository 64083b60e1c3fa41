"""A tiny finished run of the made-up study, calibrated once."""

from pathlib import Path

import pytest
import torch
from filelock import FileLock
from rich.console import Console

from epi.analyst import Source, Toolbox
from epi.calibration import calibrate_study

TINY = {
    "scale": 0.1, "level_scale": 0.1, "slope_scale": 0.1, "particles": 4, "warm_start": 2, "level_runs": 4, "rounds": 0,
    "prior_draws": 24, "noise_runs": 4, "draws": 10, "jacobian_draws": 10, "max_steps": 10, "chain_draws": 4, "replicates": 2,
}  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory, worker_id) -> Path:
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder = shared / "analyst_run"
    before = torch.get_default_dtype()
    with FileLock(shared / "analyst_run.lock"):
        if not (shared / "analyst_run.done").exists():
            calibrate_study(
                "tests.made_up.study", folder, smoke=True, device="cpu", settings=TINY, console=Console(quiet=True)
            )
            (shared / "analyst_run.done").touch()
    torch.set_default_dtype(before)
    return folder


@pytest.fixture(scope="session")
def box(run) -> Toolbox:
    """The tools, simulating in this process."""
    return Toolbox(Source(run, draws=4, apart=False))
