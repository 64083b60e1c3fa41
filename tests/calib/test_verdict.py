"""Verdicts: cases that must not pass, and cases that must."""

import dataclasses
import json
import math

import pytest
import torch
from torch.distributions import Independent, Normal, Uniform

from calib import CalibrationVerdict, Evidence, calibrate, make_flow
from calib._check import gather
from calib._coordinates import Coordinates
from calib._flow_draws import fit_flow
from calib._more_budget import Allowance
from calib._observed import Evaluate, as_data
from calib._reuse import Source
from calib._space import Parameter, ParameterSpace
from calib._verdict import judge

FINE = Evidence(
    stopped_because="converged", weight=1.0, draws=100, finite=100, effective_share=0.95, k_hat=0.2, k_hat_draws=4000,
    shift=0.05, stretch=1.05, missed=0.0, noise=0.0, model_error=0.02, corrected_share=0.99, corrected_shift=0.02,
    corrected_stretch=1.01,
)  # fmt: skip
PLAIN = dataclasses.replace(FINE, model_error=None, corrected_share=None, corrected_shift=math.inf)
OFF = {"effective_share": 0.2, "k_hat": 1.1, "shift": 0.6}
WRONG_EMULATOR = {"model_error": 15952.0, "corrected_share": 0.01, "corrected_shift": 900.0}


@pytest.mark.parametrize(
    ("evidence", "changes", "state"),
    [
        (FINE, {}, "good"),
        (PLAIN, {}, "good"),
        (FINE, {"k_hat": 0.71}, "good"),  # every draw counts: the tail of the weights does not matter
        (FINE, {"k_hat": 1.35, "effective_share": 0.96}, "good"),
        (FINE, {"k_hat": None}, "good"),  # all weights equal
        (FINE, {"effective_share": 0.6}, "good"),
        (FINE, OFF, "usable"),  # the emulator is right, so corrected draws are
        (FINE, {"stopped_because": "budget"}, "usable"),
        (FINE, {"failed": 0.3}, "usable"),
        (FINE, {"model_error": 1.5}, "usable"),
        (PLAIN, OFF, "poor"),
        (FINE, OFF | WRONG_EMULATOR, "poor"),
        (FINE, OFF | {"corrected_shift": 0.5}, "poor"),
        (FINE, {"finite": 3}, "poor"),
        (FINE, {"missed": 0.4}, "poor"),  # a second mode
        (PLAIN, {"effective_share": 0.6, "k_hat": 0.9}, "poor"),
        (PLAIN, {"shift": 0.5}, "poor"),
        (PLAIN, {"stretch": 1.6}, "poor"),
        (FINE, OFF | WRONG_EMULATOR | {"noise": 3.0, "weight": 0.05, "stopped_because": "budget"}, "poor"),
        (PLAIN, {"stopped_because": "max_steps"}, "unfinished"),
        (PLAIN, OFF | {"stopped_because": "max_steps"}, "unfinished"),
        (PLAIN, {"stopped_because": "max_seconds"}, "usable"),
        (PLAIN, {"stopped_because": "stalled"}, "unfinished"),
        (PLAIN, {"stopped_because": "something new"}, "unfinished"),
        (FINE, {"stopped_because": "new_mode"}, "unfinished"),
        (FINE, {"weight": 0.3, "stopped_because": "budget"}, "unfinished"),
        (FINE, OFF | WRONG_EMULATOR | {"stopped_because": "budget"}, "unfinished"),
    ],
)
def test_states(evidence, changes, state):
    e = dataclasses.replace(evidence, **changes)
    verdict = judge(e, correctable=evidence is FINE, allowance=Allowance(1000))
    assert verdict.state == state
    assert str(verdict).startswith(f"{state}: ")
    assert verdict.advice.endswith(".")


@pytest.mark.parametrize("error", [1.1, 10.0, 15952.0, math.inf])
def test_an_emulator_that_is_wrong_is_never_good(error):
    assert (
        judge(dataclasses.replace(FINE, model_error=error), correctable=True, allowance=Allowance(1000)).state != "good"
    )


def test_a_verdict_is_plain_data():
    verdict = judge(dataclasses.replace(PLAIN, k_hat=None), correctable=False, allowance=Allowance(1000))
    second = CalibrationVerdict.from_dict(json.loads(json.dumps(verdict.to_dict(), allow_nan=False)))
    assert second == verdict


SPACE = ParameterSpace((Parameter("x", Normal(torch.zeros(2), 1.0)),))


def evidence_of(simulate, flow, likelihood=lambda m: Independent(Normal(m, 0.5), 1), budget=400):
    source = Source(simulate, Evaluate(likelihood, as_data([0.8, -0.4])), Coordinates(SPACE), "score", 1)
    return gather(
        source, flow, None, None, budget=budget, seed=0, loss_weight=1.0, weight=1.0, stopped_because="converged"
    )


def gaussian(mean, sd):
    flow = make_flow("gaussian", 2, seed=0)
    with torch.no_grad():
        for p in flow.parameters():
            p.zero_()
    z = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    return fit_flow(flow, mean + sd * (z - z.mean(0)) / z.std(0), seed=0)[0]


EXACT_MEAN, EXACT_SD = torch.tensor([0.8, -0.4]) * 0.8, math.sqrt(0.2)  # x ~ N(0, 1), data ~ N(x, 0.5^2)


@pytest.mark.parametrize(
    ("mean", "sd", "state"),
    [
        (EXACT_MEAN, EXACT_SD, "good"),
        (EXACT_MEAN + torch.tensor([0.0, 0.8 * EXACT_SD]), EXACT_SD, "poor"),
        (EXACT_MEAN, EXACT_SD / 2, "poor"),
        (EXACT_MEAN, EXACT_SD * 2, "poor"),
        (EXACT_MEAN + 4.0, EXACT_SD / 5, "poor"),
    ],
)
def test_fits_that_are_right_and_wrong_by_fresh_simulations(mean, sd, state):
    found = evidence_of(lambda x, seed: x, gaussian(mean, sd))
    assert judge(found, correctable=False, allowance=Allowance(1000)).state == state


def test_a_mode_that_a_fit_misses_is_found_by_draws_of_the_prior():
    one_mode = gaussian(torch.tensor([0.8, -0.4]) / 1.04, math.sqrt(0.04 / 1.04))
    narrow = lambda m: Independent(Normal(m, 0.2), 1)  # noqa: E731
    whole = evidence_of(lambda x, seed: x, one_mode, narrow, 1000)
    assert whole.missed < 0.01
    assert judge(whole, correctable=False, allowance=Allowance(1000)).state == "good"
    two = evidence_of(lambda x, seed: torch.stack([x[:, 0].abs(), x[:, 1]], 1), one_mode, narrow, 1000)
    assert two.effective_share > 0.9  # weights of a fit's own draws cannot tell
    assert two.missed == pytest.approx(0.5, abs=0.25)
    assert judge(two, correctable=False, allowance=Allowance(1000)).state == "poor"


def test_noise_of_the_simulator_is_seen():
    def noisy(x, seed):
        return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)

    found = evidence_of(noisy, gaussian(EXACT_MEAN, EXACT_SD))
    assert found.noise > 1.0
    assert evidence_of(lambda x, seed: x, gaussian(EXACT_MEAN, EXACT_SD)).noise == 0.0
    assert judge(found, correctable=False, allowance=Allowance(1000)).state == "poor"


def test_failed_simulations_count():
    found = evidence_of(lambda x, seed: torch.where(x[:, :1] > 0.6, torch.nan, x), gaussian(EXACT_MEAN, EXACT_SD))
    assert 0.3 < found.failed < 0.7
    assert judge(found, correctable=False, allowance=Allowance(1000)).state != "good"
    none = evidence_of(lambda x, seed: x * torch.nan, gaussian(EXACT_MEAN, EXACT_SD))
    assert (none.finite, none.failed) == (0, 1.0)
    assert "Only 0 of them" in str(judge(none, correctable=False, allowance=Allowance(1000)))


def test_a_fit_that_ends_at_its_limit_is_unfinished():
    found = calibrate(
        lambda theta, seed: theta["x"][:, None],
        {"x": Uniform(-5.0, 5.0)},
        [0.92],
        likelihood=lambda m: Independent(Normal(m, 0.1), 1),
        method="vi",
        budget=1500,
    )
    assert found.report["stopped_because"] == "max_steps"
    assert found.verdict.state == "unfinished"
    assert "still rising" in str(found.verdict)
