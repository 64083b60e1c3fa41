"""A new study from tables to report: everything runs, and a study of one's own needs no line of the package."""

import json

import numpy as np

from epi.outputs.reload import rebuild
from epi.outputs.run_files import RunFiles


def test_a_new_study_is_calibrated_and_reported(new_study):
    folder = new_study[0] / "run"
    scores = json.loads((folder / "scores.json").read_text())
    plots = {path.stem for path in (folder / "figures").glob("*.png")}
    assert set(scores) == {"cases_county", "admissions_age"}
    assert np.isfinite(scores["cases_county"]["overall"]["1-4"]["wis"])
    assert "forecast_regions" in plots
    assert "forecast_wastewater" not in plots  # the study has none
    assert {"reproduction_numbers", "infections_and_cases", "attack_rates"} <= plots
    files = RunFiles(folder)
    assert files.study.name == "my_study"
    infections = files.derived[(files.derived.quantity == "infections") & (files.derived.by == "county")]
    drawn = np.median(files.predicted("infections_county"), 0)
    assert np.allclose(infections["median"].to_numpy().reshape(11, 2), drawn)
    assert set(files.derived.quantity) == {
        "infections", "attack rate", "infections per 100,000", "Rt", "ascertainment", "infection-hospitalisation ratio",
    }  # fmt: skip
    assert files.groups["posterior"]["county_effect"].dims[-1] == "county"
    page = (folder / "report.html").read_text()
    assert "A made-up epidemic in two counties" in page
    assert "Zealand" not in page
    second = rebuild(folder)
    assert second.draws == 10
    assert second.simulator.study.name == "my_study"
