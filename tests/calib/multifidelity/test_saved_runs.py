"""Runs saved as they come."""

import pytest
import torch

from calib import CheckpointError
from calib.multifidelity import _saved_runs, saved_runs


def simulate(part, start):
    return part.sum(1, keepdim=True) + torch.arange(start, start + len(part))[:, None]


def test_a_killed_study_makes_only_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(_saved_runs, "EVERY", 0.0)
    file, z = tmp_path / "runs.safetensors", torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    whole = saved_runs(tmp_path / "other", "p", z, 2, simulate, lambda n, now: None)

    def killed(part, start):
        if start >= 6:
            raise KeyboardInterrupt
        return simulate(part, start)

    with pytest.raises(KeyboardInterrupt):
        saved_runs(file, "p", z, 2, killed, lambda n, now: None)
    told = []
    assert torch.equal(saved_runs(file, "p", z, 2, simulate, lambda n, now: told.append((n, now))), whole)
    assert told == [(6, False), (2, True), (2, True), (1, True)]
    assert not file.exists()


def test_runs_of_other_draws_are_made_again_and_foreign_files_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_saved_runs, "EVERY", 0.0)
    file, z = tmp_path / "runs.safetensors", torch.ones(4, 3)

    def killed(part, start):
        if start:
            raise KeyboardInterrupt
        return simulate(part, start)

    with pytest.raises(KeyboardInterrupt):
        saved_runs(file, "p", z, 2, killed, lambda n, now: None)
    with pytest.raises(CheckpointError, match="made from other data"):
        saved_runs(file, "q", z, 2, simulate, lambda n, now: None)
    assert torch.equal(saved_runs(file, "p", 2 * z, 2, simulate, lambda n, now: None), simulate(2 * z, 0))
