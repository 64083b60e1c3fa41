"""The page of verdicts on a finished run."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import typer
import xarray as xr
from typer.testing import CliRunner

from calib._idata import datasets_of, load_inference_data
from epi.outputs.run_files import RunFiles
from epi.reporting.key_numbers import sampler_sentence
from epi.reporting.verdicts import QUESTIONS, judge_run
from experiments.nz_calibration.check import main
from tests.experiments import nz
from tests.experiments.synthetic_run import make_run

APP = typer.Typer()
APP.command()(main)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("results") / "run", draws=120, kept=30)


@pytest.fixture
def copy(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


def sentence(folder):
    return {v.name: v.word for v in judge_run(RunFiles(folder)).page.verdicts}


def manifest(folder, **entries):
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def change(folder, group, edit):
    """Edit one group of the posterior file in place."""
    dataset = datasets_of(load_inference_data(folder / "posterior.nc"))[group].load()
    edit(dataset)
    dataset.to_netcdf(folder / "posterior.nc", mode="a", group=group, engine="h5netcdf")


def test_page_of_a_run_whose_model_is_true(copy):
    """The observations are one of the run's own predictions."""
    predicted = datasets_of(load_inference_data(copy / "posterior.nc"))["posterior_predictive"]

    def replace(dataset: xr.Dataset) -> None:
        for name in nz.STREAMS:
            dataset[name].values[:] = predicted[name].values[0, 7]

    change(copy, "observed_data", replace)
    found = sentence(copy)
    assert list(found) == list(QUESTIONS)
    good = (
        "misspecification",
        "k_hat",
        "mixing",
        "emulator",
        "fitted_streams",
        "fitted_places",
        "fitted_weeks",
        "forecast_coverage",
    )
    assert {found[name] for name in good} == {"pass"}
    assert found["converged"] == "fail"  # ended at its time limit
    assert found["failures"] == "warn"
    assert found["recovery"] == "not run"


def test_what_is_wrong_is_said(copy):
    manifest(
        copy,
        importance={"k_hat": 1.4, "draws": 4000, "effective": 3.0},
        sampler=None,
        fit={"stopped_because": "converged", "steps": 120, "dropped_particles": 900},
        recovery={"inside": 40, "of": 80, "share": 0.5, "chance_of_so_few": 1e-12},
    )
    page = judge_run(RunFiles(copy)).page
    assert page.word == "fail"
    assert {page[name].word for name in ("k_hat", "failures", "recovery")} == {"fail"}
    assert page["converged"].word == "pass"
    assert "40 of 80 known parameters" in page["recovery"].text
    assert page["mixing"].word == "not run"
    assert "1 round of runs followed" in page["emulator"].text
    manifest(
        copy, fit={"stopped_because": "converged", "steps": 120, "simulations": 0, "dropped_particles": 900}, skipped={}
    )
    assert judge_run(RunFiles(copy)).page["failures"].word == "pass"  # points of the emulator are no simulations
    manifest(copy, held_out={"draws": 96, "median": 0.9, "largest": 3.1, "off_median": 0.12})
    assert judge_run(RunFiles(copy)).page["emulator"].word == "fail"
    for off, word, said in (
        (0.9, "warn", "by a factor of 2.5 in"),
        (3.63, "fail", "by a factor of 38 in"),
        (0.12, "pass", "by 13 % in"),
    ):
        # runs that lie where they were foretold, but foretold anywhere
        manifest(copy, held_out={"draws": 96, "median": 0.5, "largest": 1.1, "off_median": off})
        found = judge_run(RunFiles(copy)).page["emulator"]
        assert (found.word, said in found.text) == (word, True)
    manifest(copy, held_out=None)
    assert judge_run(RunFiles(copy)).page["emulator"].word == "not run"
    stuck = {"chains": 64, "draws": 640, "r_hat": 1.6, "r_hat_median": 1.2, "effective": 70.0, "divergent": 4}
    manifest(copy, sampler=stuck)
    second = judge_run(RunFiles(copy)).page
    assert second["mixing"].word == "fail"
    assert second["k_hat"].word == "warn"  # the draws are not those of the fitted distribution
    manifest(copy, sampler=stuck | {"r_hat": None, "r_hat_median": None, "effective": 0.0})  # chains that never moved
    assert judge_run(RunFiles(copy)).page["mixing"].word == "fail"
    assert "did not pass" in sampler_sentence(RunFiles(copy))


def test_impossible_data_fail(copy):
    """Cases that fall and rise from week to week as no epidemic does, at numbers that are ordinary one by one."""

    def jagged(dataset: xr.Dataset) -> None:
        sign = np.where(np.arange(dataset.sizes["week"]) % 2, 3.0, 0.1)
        for name in nz.STREAMS:
            dataset[name].values[:] = dataset[name].values * sign[:, None]

    change(copy, "observed_data", jagged)
    found = sentence(copy)
    assert found["misspecification"] == "fail"
    assert found["fitted_streams"] == found["fitted_weeks"] == "fail"


def test_a_forecast_that_is_too_sure_fails(copy):
    def narrow(dataset: xr.Dataset) -> None:
        for name in nz.STREAMS:
            later = dataset[name].values[:, :, 6:]
            later[:] = later[:, :, :] * 0.02 + 3.0 * later.mean(1, keepdims=True)

    change(copy, "posterior_predictive", narrow)
    assert sentence(copy)["forecast_coverage"] == "fail"


def test_command(copy, tmp_path):
    def run(*arguments: object) -> SimpleNamespace:
        return CliRunner().invoke(APP, [str(a) for a in arguments])

    result = run("--from", copy)
    assert result.exit_code == 0
    assert "Can the model produce an epidemic like this one at all?" in result.stdout
    assert json.loads((copy / "check.json").read_text())["word"] == "fail"
    assert (copy / "check.html").read_text().count("data:image/png;base64,") == 5
    elsewhere = run("--from", copy, "--output", tmp_path / "other")
    assert (tmp_path / "other" / "check.html").exists()
    assert elsewhere.stdout == result.stdout
    (copy / "scores.json").unlink()
    broken = run("--from", copy, "--output", tmp_path / "broken")
    assert broken.exit_code == 2
    assert "lacks scores.json" in broken.stderr
    assert not (tmp_path / "broken").exists()
