"""Stochastic simulators: the pilot, both methods against a closed form, verdicts that must fail, replicates."""

import doctest
import math
import re
from dataclasses import replace

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, Poisson

import calib._learned_summary
import calib._noise_pilot
import calib._replicates
import calib._tempered_importance
from calib import Parameter, ParameterSpace, calibrate
from calib._iterated_regression import NoisyRuns, adjust, iterated_regression, log_mixture, rounds_for
from calib._learned_summary import Features, differences
from calib._more_budget import Allowance
from calib._noise_pilot import Pilot, run_noise_pilot, simulate_apart
from calib._noisy import blurred, is_bent
from calib._noisy_verdict import NoiseEvidence, judge_noisy
from calib._plan import choose
from calib._replicates import MeanLikelihood, log_mean_bias
from calib._tempered_importance import temper
from calib._verdict import Evidence

DESIGN = torch.tensor([[1.0, 0.5], [0.3, -1.0], [0.8, 0.8]], dtype=torch.float64)
DATA = torch.tensor([0.9, -0.4, 0.7], dtype=torch.float64)
PRIOR = {"effect": Independent(Normal(torch.zeros(2, dtype=torch.float64), 2.0), 1)}
SPACE = ParameterSpace((Parameter("effect", PRIOR["effect"]),))
ERROR = 0.3  # sd of the likelihood


def simulator(noise, shared=False):
    """Linear outputs with latent normal noise, whose posterior is known."""

    def run(theta, seed):
        rows = 1 if shared else len(theta["effect"])
        generator = torch.Generator().manual_seed(seed % 2**62)
        latent = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
        return theta["effect"].double() @ DESIGN.T + noise * latent

    return run


def likelihood(outputs):
    return Independent(Normal(outputs, ERROR), 1)


def log_likelihood(outputs):
    return likelihood(outputs).log_prob(DATA)


def exact(noise):
    variance = noise**2 + ERROR**2
    covariance = torch.linalg.inv(torch.eye(2, dtype=torch.float64) / 4 + DESIGN.T @ DESIGN / variance)
    return covariance @ DESIGN.T @ DATA / variance, covariance.diagonal().sqrt()


def off(found, noise):
    mean, sd = exact(noise)
    draws = found.sample(6000)["effect"].double()
    return float(((draws.mean(0) - mean) / sd).abs().max()), float((draws.std(0) / sd).log().abs().max().exp())


# --- pilot ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "shared"), [(0.0, False), (0.5, False), (0.5, True)])
def test_pilot_finds_noise_and_whether_a_call_shares_it(noise, shared):
    found = run_noise_pilot(simulator(noise, shared), log_likelihood, SPACE, 0)
    assert found.scatters == (noise > 0)
    assert found.shared == shared
    assert found.negligible == (noise == 0)
    assert found.simulations == (35 if noise else 15)


def test_pilot_of_rounding_noise_is_negligible():
    found = run_noise_pilot(simulator(1e-7), log_likelihood, SPACE, 0)
    assert found.scatters
    assert found.negligible


def test_pilot_reads_nan_as_a_value():
    found = run_noise_pilot(
        lambda theta, seed: torch.full((len(theta["effect"]), 3), torch.nan), log_likelihood, SPACE, 0
    )
    assert not found.scatters


def test_pilot_where_runs_cannot_give_the_data():
    def dies(theta, seed):
        generator = torch.Generator().manual_seed(seed % 2**62)
        return torch.poisson(torch.full((len(theta["effect"]), 3), 0.5, dtype=torch.float64), generator=generator)

    def value(outputs):
        return Independent(Poisson(outputs, validate_args=False), 1).log_prob(torch.tensor([1.0, 0.0, 2.0]))

    assert run_noise_pilot(dies, value, SPACE, 0).sd == math.inf


def test_rows_of_one_call_that_share_noise_are_run_apart():
    z = torch.zeros(4, 2, dtype=torch.float64)
    together = simulate_apart(simulator(1.0, True), SPACE, z, 0, shared=False)
    apart = simulate_apart(simulator(1.0, True), SPACE, z, 0, shared=True)
    assert len(together.unique(dim=0)) == 1
    assert len(apart.unique(dim=0)) == 4


# --- tempered weights ----------------------------------------------------------------------------------------------


def runs_from_prior(noise, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return z, simulator(noise)(SPACE.to_theta(z), seed)


def test_untempered_weights_of_single_runs_are_exact():
    z, outputs = runs_from_prior(0.3, 60_000)
    found = temper(z, log_likelihood(outputs), log_mixture([(1, None)], z))
    mean, sd = exact(0.3)
    assert found.temperature == 1.0
    torch.testing.assert_close(2 * found.mean, mean, atol=0.02, rtol=0)  # z is theta / 2
    torch.testing.assert_close(2 * found.sd, sd, atol=0.0, rtol=0.06)


def test_weights_are_tempered_to_fifty_runs_and_then_too_wide():
    z, outputs = runs_from_prior(0.0, 400)
    found = temper(z, 30 * log_likelihood(outputs), log_mixture([(1, None)], z))
    assert 0 < found.temperature < 1
    assert found.effective == pytest.approx(50, abs=0.1)


def test_weights_where_no_run_gives_the_data_are_those_of_the_prior():
    z, _ = runs_from_prior(0.0, 100)
    found = temper(z, torch.full((100,), -math.inf, dtype=torch.float64), log_mixture([(1, None)], z))
    assert torch.isfinite(found.weight).all()
    assert found.effective == pytest.approx(100)


def test_mixture_of_rounds_integrates_to_one():
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    from calib._mixture import Mixture

    other = Mixture(torch.zeros(1).double(), torch.ones(1, 1).double(), 0.5 * torch.ones(1, 1, 1).double())
    assert float(torch.trapezoid(log_mixture([(30, None), (70, other)], z).exp(), z[:, 0])) == pytest.approx(
        1, abs=1e-6
    )


# --- regression ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [False, True])
def test_summaries_of_linear_data_are_the_posterior_mean(network, monkeypatch):
    monkeypatch.setattr(calib._learned_summary, "STEPS", 100)
    z, outputs = runs_from_prior(0.5, 3000)
    generator = torch.Generator().manual_seed(1)
    noisy = outputs[:, None] + ERROR * torch.randn(3000, 2, 3, generator=generator, dtype=torch.float64)
    features = Features.of(noisy[:, 0], DATA)
    weight = torch.full((3000,), 1 / 3000, dtype=torch.float64)
    apart = differences(features(noisy), features(DATA), z, weight, generator, network)
    variance = 0.5**2 + ERROR**2
    slope = torch.linalg.inv(torch.eye(2, dtype=torch.float64) + 4 * DESIGN.T @ DESIGN / variance) @ (
        2 * DESIGN.T / variance
    )
    wanted = (noisy - DATA) @ slope.T
    inside = (wanted.abs() < 0.5).all(-1)
    assert float((apart - wanted)[inside].std()) < 0.12


def test_features_leave_out_what_is_constant_and_know_counts():
    data = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, 4.0], [0.0, 3.0, 9.0]], dtype=torch.float64)
    found = Features.of(data, data[0])
    assert found.counts
    assert found.kept.tolist() == [False, False, True]
    assert found(data).shape == (3, 1)
    assert not Features.of(data - 5, data[0]).counts


def test_regression_where_all_data_are_constant_gives_back_the_prior():
    z = torch.randn(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    runs = NoisyRuns(z, torch.zeros(300, 3, dtype=torch.float64), log_mixture([(1, None)], z), 0, ((300, None),))
    found = adjust(runs, lambda o, g: o, torch.zeros(3), runs.weight, torch.Generator().manual_seed(0), network=False)
    torch.testing.assert_close(found.mean, torch.zeros(2, dtype=torch.float64), atol=0.2, rtol=0)
    torch.testing.assert_close(found.sd, torch.ones(2, dtype=torch.float64), atol=0.15, rtol=0)


def test_iterated_regression_against_a_closed_form_with_runs_that_fail():
    def simulate(z, seed):
        outputs = simulator(1.0)(SPACE.to_theta(z), seed)
        outputs[z[:, 0] > 2.5] = torch.nan
        return outputs

    def draw(outputs, generator):
        return outputs + ERROR * torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)

    runs, found = iterated_regression(simulate, draw, DATA, 2, 3000, 0, network=False)
    mean, sd = exact(1.0)
    assert runs.dropped > 0
    assert float(((2 * found.mean - mean) / sd).abs().max()) < 0.2
    torch.testing.assert_close(2 * found.sd, sd, atol=0, rtol=0.12)
    second = iterated_regression(simulate, draw, DATA, 2, 3000, 0, network=False)[1]
    assert torch.equal(found.z, second.z)


def test_rounds():
    assert [rounds_for(2, 10_000), rounds_for(6, 2000), rounds_for(6, 10_000)] == [3, 3, 5]


def test_draws_that_are_bent_are_told_from_normal_ones():
    z = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bent = torch.stack([z[:, 0], z[:, 1] + 0.7 * z[:, 0] ** 2], 1)
    assert not is_bent(z, 400)
    assert is_bent(bent, 400)
    assert not is_bent(bent, 5)  # so few draws are bent by chance


def test_blurred_draws_keep_mean_and_covariance():
    from calib._iterated_regression import Adjusted

    z = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = Adjusted(z, torch.full((60,), 1 / 60, dtype=torch.float64), 60.0, 0.0)
    draws = blurred(given, torch.Generator().manual_seed(0))
    assert len(draws.unique(dim=0)) == len(draws)
    torch.testing.assert_close(draws.mean(0), z.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.T.cov(), z.T.cov(correction=0), atol=0.05, rtol=0)


# --- verdicts ------------------------------------------------------------------------------------------------------

NOISE = NoiseEvidence("abc-regression", 2, 10.0, 10.0, 500.0, 0.1, 1.1, 0.5, 50.0, 1.5, 0.2, "", "")
FRESH = Evidence("trained", 1.0, 100, 100, shift=0.1, stretch=1.1)


@pytest.mark.parametrize(
    ("change", "fresh", "state"),
    [
        ({}, {}, "good"),
        ({"temperature": 0.2}, {}, "usable"),
        ({"disagreement": 0.3}, {}, "usable"),
        ({"effective": 250.0}, {}, "usable"),
        ({"disagreement": 0.5}, {}, "poor"),
        ({"effective": 150.0}, {}, "poor"),
        ({"dim": 6}, {}, "poor"),
        ({"temperature": 0.05}, {}, "poor"),
        ({"ratio": 1.6}, {}, "poor"),
        ({}, {"shift": 0.6}, "poor"),
        ({}, {"stretch": 1.3}, "usable"),
        ({}, {"finite": 10}, "poor"),
        ({}, {"failed": 0.3}, "usable"),
        ({"temperature": 1.0, "weighted": 300.0, "k_hat": 0.3, "effective": 50.0}, {}, "good"),
        ({"temperature": 1.0, "weighted": 60.0, "k_hat": 0.3, "effective": 50.0}, {}, "usable"),
        ({"temperature": 1.0, "weighted": 60.0, "k_hat": 0.9, "effective": 50.0}, {}, "poor"),
        ({"method": "importance", "temperature": 0.5}, {}, "poor"),
    ],
)
def test_verdict(change, fresh, state):
    assert judge_noisy(replace(NOISE, **change), replace(FRESH, **fresh), Allowance(1000)).state == state


# --- front door ----------------------------------------------------------------------------------------------------


def run(noise, budget, **more):
    shared = more.pop("shared", False)
    return calibrate(
        simulator(noise, shared), PRIOR, DATA, likelihood=likelihood, budget=budget, flow="gaussian", **more
    )


def test_little_noise_is_weighed_exactly():
    found = run(0.1, 2000)
    error, factor = off(found, 0.1)
    assert found.report["method"] == "abc-regression"
    assert found.report["noise"]["method"] == "importance"
    assert found.report["noise"]["temperature"] == 1.0
    assert found.verdict.state in ("good", "usable")
    assert error < 0.25
    assert factor < 1.2
    assert found.report["simulations"] <= 2000


@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_strong_noise_is_regressed(shared):
    found = run(1.0, 2000, shared=shared)
    error, factor = off(found, 1.0)
    assert found.report["noise"]["method"] == "abc-regression"
    assert found.verdict.state in ("good", "usable"), str(found.verdict)
    assert error < 0.35
    assert factor < 1.3
    assert "noise" in str(found.verdict)


def test_too_few_runs_are_poor_and_say_what_to_do():
    found = run(1.0, 400)
    assert found.verdict.state == "poor"
    assert re.search(r"Raise the budget from 400 to about [\d,]+\.", str(found.verdict))


def test_direct_on_a_noisy_simulator_is_not_believed():
    found = run(1.0, 2000, method="vi", gradient="score")
    assert found.verdict.state in ("poor", "unfinished")


@pytest.mark.parametrize(
    ("sd", "dim", "gradient", "can_draw", "method"),
    [
        (0.0, 2, "reverse", True, "emulated-smc"), (0.05, 2, "reverse", True, "emulated-smc"), (0.0, 20, "reverse", True, "linearised-vi"),
        (3.0, 2, "reverse", True, "abc-regression"), (3.0, 20, "score", True, "abc-regression"),
        (3.0, 2, "score", False, "importance"), (math.inf, 2, "score", True, "abc-regression"),
    ],
)  # fmt: skip
def test_auto_chooses_by_the_noise(sd, dim, gradient, can_draw, method):
    pilot = Pilot(sd > 0, False, sd, sd, 35, torch.zeros(1, 1))
    assert choose("auto", dim, gradient, pilot, can_draw, False) == method


def test_a_noisy_log_likelihood_is_weighed():
    def value(theta, seed):
        return log_likelihood(simulator(0.1)(theta, seed))

    found = calibrate(value, PRIOR, budget=2000, flow="gaussian")
    assert found.report["method"] == "importance"
    assert found.verdict.state in ("good", "usable")
    assert off(found, 0.1)[0] < 0.3


def test_regression_without_a_likelihood_is_refused():
    with pytest.raises(ValueError, match="simulated data"):
        calibrate(lambda theta, seed: theta["effect"].sum(1), PRIOR, budget=400, method="abc-regression")


def test_missing_data_and_dying_out_with_ties():
    """Counts, most of them zero, some rows NaN, one datum missing: a right answer or "poor", never an error."""

    def counts(theta, seed):
        generator = torch.Generator().manual_seed(seed % 2**62)
        mean = (theta["effect"].double().sum(1) - 3).exp()[:, None].expand(-1, 4).clamp(max=1e6)
        out = torch.poisson(mean, generator=generator)
        out[mean[:, 0] > 1e4] = torch.nan
        return out

    def reports(outputs):
        return Independent(Poisson(outputs + 0.1), 1)

    data = torch.tensor([0.0, 0.0, torch.nan, 0.0])
    found = calibrate(counts, PRIOR, data, likelihood=reports, budget=600, flow="gaussian")
    assert found.report["noise"] is not None
    assert all(torch.isfinite(v).all() for v in found.sample(100).values())


# --- replicates ----------------------------------------------------------------------------------------------------


def test_log_mean_is_low_by_the_bias_that_is_stated():
    generator = torch.Generator().manual_seed(0)
    values = 0.4 * torch.randn(200_000, 4, generator=generator, dtype=torch.float64)
    found = MeanLikelihood(lambda out: out[:, 0], 4)(values)
    exact_log_mean = 0.5 * 0.4**2
    assert exact_log_mean - float(found.mean()) == pytest.approx(log_mean_bias(0.4, 4), abs=0.004)
    assert float(found.exp().mean().log()) == pytest.approx(exact_log_mean, abs=0.003)  # the mean itself is unbiased


def test_replicates_are_for_methods_that_average():
    with pytest.raises(ValueError, match="replicates=3"):
        run(1.0, 400, replicates=3, method="emulated-smc")


def test_replicates_count_and_importance_stays_right():
    found = run(0.2, 4000, replicates=4, method="importance")
    assert found.report["replicates"] == {"runs": 4, "bias_nats": 0.0}
    assert found.report["simulations"] <= 4000
    assert found.verdict.state in ("good", "usable")
    assert off(found, 0.2)[0] < 0.3


@pytest.mark.parametrize("module", [calib._noise_pilot, calib._replicates, calib._tempered_importance])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


def test_multivariate_likelihoods_work_too():
    found = calibrate(
        simulator(1.0), PRIOR, DATA, budget=600, flow="gaussian",
        likelihood=lambda out: MultivariateNormal(out, ERROR**2 * torch.eye(3, dtype=torch.float64)),
    )  # fmt: skip
    assert found.report["noise"]["method"] == "abc-regression"
