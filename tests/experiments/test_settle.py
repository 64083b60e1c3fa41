"""Draws that leave the runs of the rounds are followed by runs."""

import json
import shutil
from dataclasses import fields, replace

import pytest
import torch
from rich.console import Console

from calib import make_flow
from calib._runfolder import RunFolder
from epi.inference import refine as _settle
from epi.inference import setup as _study
from epi.inference.held_out import held_out
from epi.inference.rounds import FILE, load_pool, save_pool
from epi.inference.settings import Config
from epi.model.observation import Expected
from tests.experiments.conftest import double_precision

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def study(finished, tmp_path_factory):
    """The tiny run's problem, built once: nothing in it changes."""
    manifest = json.loads((finished / "manifest.json").read_text())
    config = Config(**manifest["configuration"])
    run = RunFolder.create(tmp_path_factory.mktemp("built") / "run", "nz_calibration", config.identity(), config.seed)
    with double_precision():
        return _study.build(config, _study.read_figures(config), run, QUIET)


@pytest.fixture
def fitted(study, finished, tmp_path):
    """Likelihood, flow and folder of the tiny run, as they were when its draws began."""
    run = RunFolder.create(tmp_path / "run", "nz_calibration", study.config.identity(), study.config.seed)
    for name in (FILE, _study.WARM_START):
        shutil.copy(finished / name, run.path / name)
    problem = study.fingerprint()
    # should runs have followed chains of the tiny run, they count as runs of its rounds
    pool = replace(load_pool(run.path / FILE, problem), rounds=study.config.rounds)
    save_pool(pool, run.path / FILE, problem)
    local = pool.local(study, _study.kept_warm_start(study, run))
    flow = make_flow(
        study.config.flow, study.space.dim, seed=study.config.seed, hierarchy=_study.hierarchy(study.space)
    )
    flow.load_state_dict(pool.flow)
    return replace(study.inference(), local=local), flow.requires_grad_(False), run


def test_draws_beyond_the_runs_are_counted_and_run(study, fitted):
    inference, _, run = fitted
    before = load_pool(run.path / FILE, study.fingerprint())
    assert _settle.beyond(inference, before.z) == 0.0, "the mean is surer at a run than it was without it"
    far = before.z[0] + 2 * torch.randn(
        10, study.space.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    assert _settle.beyond(inference, torch.cat([before.z, far])) == pytest.approx(10 / (10 + len(before.z)))
    z = torch.cat([far, before.z])
    after = _settle._follow(study, inference, z, run, QUIET)
    kept = load_pool(run.path / FILE, study.fingerprint())
    runs = round(_settle.FOLLOW * study.config.round_runs)
    assert kept.rounds == before.rounds + 1
    assert len(kept.z) - len(before.z) == runs - run.manifest.get("skipped", {}).get("runs where draws lie", 0)
    new = {tuple(row.tolist()) for row in kept.z[len(before.z) :]}
    assert sum(tuple(row.tolist()) in new for row in z[:10]) >= runs // 2, "the corner is run first"
    assert float(after.local.relative_error_at(z[:10]).max()) < 0.7 * float(
        inference.local.relative_error_at(z[:10]).max()
    )
    assert run.manifest["simulations"]["rounds"] >= runs
    assert run.manifest["emulator"]["runs"] == after.local.runs > inference.local.runs


def test_it_ends_and_says_so_where_draws_do_not_come_to_rest(study, fitted, monkeypatch):
    inference, flow, run = fitted
    monkeypatch.setattr(_settle, "FEW", -1.0)
    monkeypatch.setattr(_settle, "TIMES", 1)
    last, errors, found = _settle.draw(study, inference, flow, run, QUIET)
    assert run.manifest["beyond_runs"]["followed"] == 1
    assert last.local.runs > inference.local.runs
    assert found.z.shape[-1] == study.space.dim + errors.count
    assert "where the model was not run" in " ".join(run.manifest["notices"])


def test_a_run_killed_after_the_last_round_there_has_no_more_to_come(study, fitted, monkeypatch):
    inference, flow, run = fitted
    asked = []

    def chains(*given):
        asked.append(given[-1])
        return drawn(*given)

    drawn = _settle.chains
    monkeypatch.setattr(_settle, "chains", chains)
    monkeypatch.setattr(_settle, "FEW", -1.0)
    pool = load_pool(run.path / FILE, study.fingerprint())
    save_pool(replace(pool, rounds=pool.rounds + _settle.TIMES), run.path / FILE, study.fingerprint())
    _settle.draw(study, inference, flow, run, QUIET)
    assert asked == [None], "they are drawn to their end"
    assert run.manifest["beyond_runs"]["followed"] == _settle.TIMES


def test_a_likelihood_without_curvature_is_drawn_from_once(study, fitted):
    inference, flow, run = fitted
    straight = replace(inference, local=study.local(_study.kept_warm_start(study, run)))
    last, _, _ = _settle.draw(study, straight, flow, run, QUIET)
    assert last is straight
    assert run.manifest["beyond_runs"] == {"share": 0.0, "followed": 0}


@pytest.mark.parametrize("times", [1.0, 3.0])
def test_runs_that_stray_more_than_said_are_told(study, fitted, times):
    """Runs drawn from the law that the local mean states for them stray by once that; by three times as much if they do."""
    inference, _, run = fitted
    z = load_pool(run.path / FILE, study.fingerprint()).z
    mean, unsure, noise = inference.local.with_error(z)
    g = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    runs = Expected.from_flat(mean * torch.exp(times * (noise * (1 + unsure[:, None])).sqrt() * g), study.short.weeks)
    later = study.full.weeks - study.short.weeks
    padded = (torch.nn.functional.pad(getattr(runs, f.name), (0, 0, 0, later)) for f in fields(Expected))
    found = held_out(study, inference, z, Expected(*padded).flat())
    assert found["draws"] == len(z)
    assert found["median"] == pytest.approx(times, rel=0.15)
    assert found["largest"] < 1.5 * times
    assert found["off_median"] > 0
