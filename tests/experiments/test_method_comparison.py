"""Other methods compared with the study: what they are given, what is counted, and how their draws are scored."""

import importlib.util
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

from calib._runfolder import RunFolder
from epi.data.observations import observed
from epi.errors import StudyError
from epi.outputs.reload import rebuild
from experiments.method_comparison.__main__ import main
from experiments.method_comparison._count import spent, spent_on
from experiments.method_comparison._country import Country, Recipe
from experiments.method_comparison._forecast import forecast, study_of
from experiments.method_comparison._methods import METHODS, Drawn, Task
from experiments.method_comparison._run import STUDY_AT_SCALE, budgets
from experiments.method_comparison._summaries import summaries
from experiments.method_comparison._table import COLUMNS, SHOWN, STUDY
from experiments.method_comparison._target import logarithms, target_of

SBI = importlib.util.find_spec("sbi") is not None
APP = typer.Typer()
APP.command()(main)


def run(*arguments):
    result = CliRunner().invoke(APP, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_what_a_run_spent():
    made = {"prior_predictive": 64, "warm_start": 56, "warm_start_level": 25, "rounds": 160, "fit": 0, "noise": 16}
    manifest = {"simulations": made | {"forecast": 96, "forecast_jacobian": 24}}
    assert spent(manifest) == 64 + 4 * 56 + 25 + 160 + 16
    assert (
        spent_on(manifest) == "64 prior predictive + 56 warm start (x 4) + 25 warm start level + 160 rounds + 16 noise"
    )
    with pytest.raises(StudyError, match="--simulations"):
        spent({"simulations": {"forecast": 96}})


def test_numbers_of_simulations():
    assert budgets("same, 5000,489", 489) == (489, 5000)
    for wrong in ("", "12", "1e4", "same;900"):
        with pytest.raises(StudyError, match="same,5000"):
            budgets(wrong, 489)


def test_summaries_are_posterior_means_and_leave_out_what_they_predict():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(400, 30, generator=generator)
    x = z[:, :3] @ torch.randn(3, 50, generator=generator) + 0.5 * torch.randn(400, 50, generator=generator)
    found = summaries(z, x)
    assert sorted(found.columns.tolist()) == [0, 1, 2]
    assert (found.explained > 0.8).all()
    noise = torch.Generator().manual_seed(1)
    second = summaries(z, torch.randn(400, 50, generator=noise))
    assert float(second.explained.max()) < 0.1  # no figure tells of any parameter
    whole = found(x) - z[:, found.columns]
    left_out = found.kept - z[:, found.columns]
    assert float(left_out.square().mean()) > float(whole.square().mean())


@pytest.mark.slow
def test_data_that_the_competitors_see(finished):
    study = study_of(finished)
    target = target_of(rebuild(finished).run, study.short.weeks)
    in_likelihood = study.fit_data
    assert len(target.observed) == sum(int(in_likelihood.in_likelihood[s].sum()) for s in in_likelihood.streams)
    assert torch.isfinite(target.observed).all()
    z = torch.zeros(3, study.space.dim)
    layout = study.short.layout
    flat = layout.flat(study.short.bind(0, torch.arange(3))(study.space.to_theta(z)))
    flat[1] = torch.nan
    before = torch.get_rng_state()
    drawn = target.drawn(study.space.to_theta(z), layout.split(flat), 5)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.isfinite(drawn[[0, 2]]).all()
    assert torch.isnan(drawn[1]).all()
    counts = torch.expm1(drawn[0] * target.sd + target.middle)
    first = int(in_likelihood.in_likelihood["cases_district"].sum())
    torch.testing.assert_close(counts[:first], counts[:first].round(), atol=1e-6, rtol=1e-9)
    deaths = logarithms(in_likelihood.counts, in_likelihood, study.declared)[-1]
    torch.testing.assert_close(torch.expm1(deaths), in_likelihood.counts["deaths_age"][-1, -1])
    border = observed(study.epidemic_data, study.full.observation.weeks, ("cases", "border")).until(study.short.weeks)
    levels = logarithms(border.counts, border, study.declared)[-1]
    torch.testing.assert_close(levels.exp(), border.counts["border_cohort"][-1, 0])


@pytest.mark.slow
def test_the_study_s_own_draws_give_its_own_scores(finished, tmp_path):
    study = study_of(finished)
    fitted = rebuild(finished)
    country = Country(None, Recipe(str(finished), study.config.country_scale).build())
    z = study.space.to_z(fitted.theta)
    found = forecast(study, country, z, RunFolder.create(tmp_path / "own", "method_comparison", {}, 0))
    kept = json.loads((finished / "scores.json").read_text())
    for stream in SHOWN:
        for horizon, row in kept[stream]["overall"].items():
            assert found[stream]["overall"][horizon]["wis"] == pytest.approx(row["wis"], rel=1e-6)


def test_what_the_command_refuses(tmp_path, new_study):
    assert "There is no method 'nope'" in run("--methods", "nope").stderr
    gone = run("--from", tmp_path / "gone", "--methods", "prior", "--output", tmp_path / "out")
    assert gone.exit_code == 2
    assert not (tmp_path / "out").exists()
    few = run("--from", new_study[0] / "run", "--methods", "prior", "--simulations", "3", "--output", tmp_path / "out")
    assert few.exit_code == 2
    assert "same,5000" in few.stderr


@pytest.mark.skipif(SBI, reason="sbi is installed")
def test_missing_sbi_is_named():
    result = run("--methods", "npe")
    assert result.exit_code == 2
    assert "posterity[sbi]" in result.stderr


@pytest.mark.slow
def test_the_command_without_sbi_and_resumed(finished, tmp_path):
    arguments = ("--from", finished, "--methods", "prior", "--workers", 1, "--draws", 12, "--output", tmp_path / "out")
    assert run(*arguments).exit_code == 0
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    assert list(table.columns) == COLUMNS
    assert list(dict.fromkeys(table["method"])) == [STUDY, "prior"]
    assert len(table) == 2 * 2 * len(SHOWN)
    assert np.isfinite(table["relative_wis"]).all()
    assert run(*arguments).exit_code == 2  # the folder holds this comparison
    second = run(*arguments, "--resume")
    assert second.exit_code == 0
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "out" / "table.csv"))
    assert (tmp_path / "out" / "scores.png").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not SBI, reason="needs the extra sbi")
def test_every_method_end_to_end_in_two_processes(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    result = run(
        "--from", tmp_path / "run", "--simulations", 80, "--scale", 0.002, "--workers", 2, "--draws", 12, "--output", tmp_path / "out"
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    assert list(dict.fromkeys(table["method"])) == [STUDY, STUDY_AT_SCALE, *METHODS]
    manifest = RunFolder.open(tmp_path / "out").manifest
    assert all(manifest["simulations"][f"{m}_80"] <= 80 for m in METHODS if m != "prior")


@pytest.mark.skipif(not SBI, reason="needs the extra sbi")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["npe-summaries", "smc-abc-summaries"])
def test_methods_with_summaries_on_a_linear_model(name, tiny):
    """Six parameters seen well, the others not at all: the first move to the truth, the others keep their prior.

    Not two: the first variable of a masked autoregressive layer of sbi does not see the observations, and some order of two may leave one out.
    """
    design = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))

    def simulate(z, seed):
        noise = torch.randn(len(z), 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return z[:, :6].double() @ design.double() + 0.5 * noise

    truth = torch.zeros(1, tiny.space.dim)
    truth[0, :6] = torch.tensor([1.0, -0.5, 0.3, -1.0, 0.6, 0.0])
    task = Task(tiny.space, simulate, simulate(truth, 1)[0], 800, 200, 0)
    found: Drawn = METHODS[name](task)
    assert found.simulations <= 800
    assert torch.equal(found.z, METHODS[name](task).z)
    mean, sd = found.z.mean(0), found.z.std(0)
    off = 0.8 if name.startswith("smc") else 0.5  # accepting what is near widens towards the prior
    assert (mean[:6] - truth[0, :6]).abs().max() < off
    assert float(sd[:6].max()) < 0.8
    assert abs(float(sd[6:].mean()) - 1) < 0.1
