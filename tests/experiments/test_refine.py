"""Draws that leave the runs of the rounds are followed by runs."""

import contextlib
import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from calib import make_flow
from calib.multifidelity import (
    ROUNDS_FILE,
    WARM_START_FILE,
    EmulatorPosterior,
    _chains,
    _refine,
    held_out,
    load_pool,
    load_warm_start,
    save_pool,
)
from calib.storage import RunFolder
from epi.inference import setup as _study
from epi.inference.features import roles_of
from epi.inference.settings import Config
from tests.conftest import double_precision

QUIET = Console(quiet=True)


@pytest.fixture(scope="module", params=["new_study", pytest.param("finished", marks=pytest.mark.slow)])
def origin(request):
    """A finished run: of the study that `posterity new` writes, and in the slow run of the tiny New Zealand."""
    found = request.getfixturevalue(request.param)
    return found if request.param == "finished" else found[0] / "run"


@pytest.fixture(scope="module")
def study(origin, tmp_path_factory):
    """The problem of the run, built once: nothing in it changes."""
    manifest = json.loads((origin / "manifest.json").read_text())
    config = Config(**manifest["configuration"])
    run = RunFolder.create(tmp_path_factory.mktemp("built") / "run", "my_study", config.identity(), config.seed)
    with double_precision(), contextlib.chdir(origin.parent):
        return _study.build(config, _study.read_data(config), run, QUIET)


@pytest.fixture(scope="module")
def learnt(study, origin, tmp_path_factory):
    """Pool, warm start and emulator of that run, as they were when its draws began."""
    run = RunFolder.create(tmp_path_factory.mktemp("learnt") / "run", "my_study", study.config.identity(), 0)
    for name in (ROUNDS_FILE, WARM_START_FILE):
        shutil.copy(origin / f"{name}.safetensors", run.path)
    recorder = study.recorder(run, QUIET)
    # should runs have followed chains of that run, they count as runs of its rounds
    pool, warm = replace(load_pool(recorder), rounds=study.config.rounds), load_warm_start(recorder)
    with double_precision():
        return pool, run.path / f"{WARM_START_FILE}.safetensors", pool.emulator(study.problem, warm)


@pytest.fixture
def fitted(study, learnt, tmp_path):
    """Likelihood, flow and folder of that run, as they were when its draws began."""
    pool, warm_start, emulator = learnt
    run = RunFolder.create(tmp_path / "run", "my_study", study.config.identity(), study.config.seed)
    shutil.copy(warm_start, run.path)
    recorder = study.recorder(run, QUIET)
    save_pool(pool, recorder)
    flow = make_flow(
        study.config.flow,
        study.space.dim,
        seed=study.config.seed,
        hierarchy=_study.hierarchy(study.space, roles_of(study.declared)),
    )
    flow.load_state_dict(pool.flow)
    return EmulatorPosterior(study.problem, emulator), flow.requires_grad_(False), recorder


# the few agents of the other run hide all curvature: nothing lies beyond; `tests/calib` has a quick problem with a quadratic mean
@pytest.mark.slow
@pytest.mark.parametrize("origin", ["finished"], indirect=True)
def test_draws_beyond_the_runs_are_counted_and_run(study, fitted):
    posterior, _, recorder = fitted
    before = load_pool(recorder)
    assert posterior.extrapolated(before.z) == 0.0, "the mean is surer at a run than it was without it"
    far = before.z[0] + 2 * torch.randn(
        10, study.space.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    assert posterior.extrapolated(torch.cat([before.z, far])) == pytest.approx(10 / (10 + len(before.z)))
    z = torch.cat([far, before.z])
    after, _ = _refine.refine(posterior, before, load_warm_start(recorder), z, study.settings, recorder)
    kept, manifest = load_pool(recorder), recorder.run.manifest
    runs = round(_refine.REFINEMENT_RUNS * study.config.round_runs)
    assert kept.rounds == before.rounds + 1
    assert len(kept.z) - len(before.z) == runs - manifest.get("skipped", {}).get("runs where draws lie", 0)
    new = {tuple(row.tolist()) for row in kept.z[len(before.z) :]}
    assert sum(tuple(row.tolist()) in new for row in z[:10]) >= runs // 2, "the corner is run first"
    # the median: the largest is that of a few outputs of a far point that nothing near was run at
    errors = [float(p.emulator.standard_error_at(z[:10]).median()) for p in (after, posterior)]
    assert errors[0] < 0.7 * errors[1]
    assert manifest["simulations"]["rounds"] >= runs
    assert manifest["emulator"]["runs"] == after.emulator.runs > posterior.emulator.runs


def test_it_ends_and_says_so_where_draws_do_not_come_to_rest(study, fitted, monkeypatch):
    posterior, flow, recorder = fitted
    monkeypatch.setattr(_refine, "MAX_EXTRAPOLATED", -1.0)
    found = _refine.draw(posterior, flow, replace(study.settings, refinements=1), recorder)
    manifest = recorder.run.manifest
    assert found.refinements == manifest["beyond_runs"]["followed"] == 1
    assert found.posterior.emulator.runs > posterior.emulator.runs
    assert found.chains.z.shape[-1] == study.space.dim + found.errors.count
    assert "where the model was not run" in " ".join(manifest["notices"])


def test_a_run_stopped_after_the_last_refinement_has_no_more_to_come(study, fitted, monkeypatch):
    posterior, flow, recorder = fitted
    asked = []

    def run_chains(*given):
        asked.append(given[-1])
        return _chains.run_chains(*given)

    monkeypatch.setattr(_refine, "run_chains", run_chains)
    monkeypatch.setattr(_refine, "MAX_EXTRAPOLATED", -1.0)
    pool = load_pool(recorder)
    save_pool(replace(pool, rounds=pool.rounds + study.settings.refinements), recorder)
    _refine.draw(posterior, flow, study.settings, recorder)
    assert asked == [None], "they are drawn to their end"
    assert recorder.run.manifest["beyond_runs"]["followed"] == study.settings.refinements


def test_a_likelihood_without_curvature_is_drawn_from_once(study, fitted):
    _, flow, recorder = fitted
    emulator = load_warm_start(recorder).emulator(study.problem.emulator_settings)
    straight = EmulatorPosterior(study.problem, emulator)
    found = _refine.draw(straight, flow, study.settings, recorder)
    assert found.posterior is straight
    assert recorder.run.manifest["beyond_runs"] == {"share": 0.0, "followed": 0}


@pytest.mark.parametrize("times", [1.0, 3.0])
def test_residuals_larger_than_stated_are_reported(fitted, times):
    """Runs drawn as the emulator states them lie once that far from it; three times as far if they do."""
    posterior, _, recorder = fitted
    z = load_pool(recorder).z
    mean, predictive, noise = posterior.emulator.predict_factors(z)
    g = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    runs = mean * torch.exp(times * (noise * (1 + predictive[:, None])).sqrt() * g)
    found = held_out(posterior, z, runs)
    assert found["draws"] == len(z)
    assert found["median"] == pytest.approx(times, rel=0.25)  # of a dozen runs
    if times == 1.0:  # three times an error without bounds is infinite
        assert found["largest"] < 1.5
    assert found["off_median"] > 0


def test_a_mean_that_underflows_is_compared_with_large_runs(fitted):
    """An emulator that says nothing at all where the runs are large lies far off, and every figure is finite."""
    posterior, _, recorder = fitted
    z = load_pool(recorder).z
    mean = posterior.emulator(z)
    lost = replace(posterior, emulator=replace(posterior.emulator, intercept=posterior.emulator.intercept - 2_000))
    found = held_out(lost, z, mean)
    assert all(math.isfinite(value) for value in found.values())
    assert found["largest"] > 10 * held_out(posterior, z, mean)["largest"] + 1
