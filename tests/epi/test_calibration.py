"""The made-up study from tables to report: everything runs, and a study of one's own needs no line of the package."""

import json

import numpy as np
import torch
from rich.console import Console

from calib import RunFolder
from epi.inference import setup
from epi.inference.settings import make_config
from epi.outputs import write
from epi.outputs.reload import rebuild
from epi.outputs.run_files import RunFiles
from epi.reporting.plots import draw_all
from epi.reporting.report import write_report

TINY = {
    "scale": 0.1, "level_scale": 0.2, "slope_scale": 0.1, "particles": 4, "warm_start": 2, "level_runs": 2, "rounds": 1, "round_runs": 10,
    "prior_draws": 10, "draws": 10, "jacobian_draws": 10, "max_steps": 20, "chain_draws": 4, "replicates": 2,
}  # fmt: skip


def test_the_made_up_study_is_calibrated_and_reported(tmp_path):
    config = make_config("tests.made_up.study", smoke=True, device="cpu", **TINY)
    console, data = Console(quiet=True), setup.read_data(config)
    run = RunFolder.create(tmp_path / "run", data.study.name, config.identity(), config.seed, "cpu")
    with run.running():
        built = setup.build(config, data, run, console)
        prior = write.prior_predictive(built, run, console)
        result, inference = setup.calibrate(built, run, console, resume=False)
        with torch.no_grad():
            centre = result.flow.sample(64, torch.Generator().manual_seed(0)).mean(0)
        setup.simulator_noise(built, centre, run)
        scores = write.conclude(built, result, inference, prior, run, console)
        epidemic_data = [path.stem for path in draw_all(run.path)]
        write_report(run.path)
    assert set(scores) == {"cases_county", "admissions_age"}
    assert np.isfinite(scores["cases_county"]["overall"]["1-4"]["wis"])
    assert "forecast_districts" in epidemic_data
    assert "forecast_wastewater" not in epidemic_data  # the study has none
    assert {"reproduction_numbers", "infections_and_cases", "attack_rates"} <= set(epidemic_data)
    files = RunFiles(run.path)
    assert files.study.name == "made_up"
    infections = files.derived[(files.derived.quantity == "infections") & (files.derived.by == "county")]
    drawn = np.median(files.predicted("infections_county"), 0)
    assert np.allclose(infections["median"].to_numpy().reshape(11, 2), drawn)
    assert set(files.derived.quantity) == {
        "infections", "attack rate", "infections per 100,000", "Rt", "ascertainment", "infection-hospitalisation ratio",
    }  # fmt: skip
    assert files.groups["posterior"]["county_effect"].dims[-1] == "county"
    page = (run.path / "report.html").read_text()
    assert "A made-up epidemic in two counties" in page
    assert "Zealand" not in page
    assert json.loads((run.path / "manifest.json").read_text())["configuration"]["study"] == "tests.made_up.study"
    second = rebuild(run.path)
    assert second.draws == 10
    assert second.simulator.study.name == "made_up"
