"""Draws beyond the runs that the emulator was fitted to are counted, and the next runs are made there."""

import torch

from calib.multifidelity import Recorder
from calib.multifidelity._refine import REFINEMENT_RUNS, refine
from calib.multifidelity._run import prepare
from tests.calib.multifidelity.test_run import SETTINGS, two_fidelities


def test_draws_beyond_the_runs_are_counted_and_run(tmp_path):
    problem = two_fidelities(quadratic=0.2)[0]
    recorder = Recorder(tmp_path, problem.fingerprint)
    posterior, _, (warm, before) = prepare(problem, SETTINGS, recorder)
    assert posterior.extrapolated(before.z) < 0.25, "the mean is mostly surer at a run than it was without it"
    far = before.z[0] + 4 * torch.nn.functional.normalize(
        torch.randn(10, before.z.shape[1], generator=torch.Generator().manual_seed(0)), dim=1
    )
    assert posterior.extrapolated(far) == 1.0
    after, pool = refine(posterior, before, warm, torch.cat([far, before.z]), SETTINGS, recorder)
    assert pool.rounds == before.rounds + 1
    assert len(pool.z) - len(before.z) == (runs := round(REFINEMENT_RUNS * SETTINGS.round_runs))
    new = {tuple(row.tolist()) for row in pool.z[len(before.z) :]}
    assert sum(tuple(row.tolist()) in new for row in far) >= min(runs, 10) // 2, "the corner is run first"
    errors = [float(p.emulator.standard_error_at(far).median()) for p in (after, posterior)]
    assert errors[0] < 0.7 * errors[1]
    assert after.extrapolated(far) < 1.0
