import dataclasses
import io

import numpy as np
import pytest
import torch
from rich.console import Console

from calib import (
    CheckpointError,
    FitConfig,
    FitError,
    Parameter,
    ParameterSpace,
    Problem,
    StopRule,
    draw_weighted,
    fit,
    forward_attached,
    importance,
    judge_k_hat,
    make_flow,
    rich_progress,
)
from calib._noise import base_noise, derive_seed


def linear_gaussian(dim=4, outputs=6, sd=0.5, seed=0):
    """y = A z + noise: problem, posterior mean and covariance, log evidence."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(outputs, dim, generator=g)
    y = a @ torch.randn(dim, generator=g) + sd * torch.randn(outputs, generator=g)

    def log_likelihood(z, seed, gradient):
        mean = forward_attached(lambda v: v @ a.T, z) if gradient == "forward" else z @ a.T
        return torch.distributions.Normal(mean, sd).log_prob(y).sum(-1)

    covariance = torch.linalg.inv(torch.eye(dim) + a.T @ a / sd**2)
    marginal = torch.distributions.MultivariateNormal(torch.zeros(outputs), a @ a.T + sd**2 * torch.eye(outputs))
    return Problem(dim, log_likelihood), covariance @ a.T @ y / sd**2, covariance, float(marginal.log_prob(y))


def moments(flow, count=40000):
    z = flow.sample(count, torch.Generator().manual_seed(99))
    return z.mean(0), torch.cov(z.T)


def quick(**changes):
    return FitConfig(**({"max_steps": 40, "stop": None} | changes))


# -- the right answer
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", ["reverse", "forward"])
def test_full_rank_fit_recovers_the_linear_gaussian_posterior(gradient):
    problem, mean, covariance, evidence = linear_gaussian()
    result = fit(problem, make_flow("gaussian", 4, seed=0), FitConfig(gradient=gradient))
    assert result.stopped_because == "converged"
    found_mean, found_covariance = moments(result.flow)
    sd = covariance.diag().sqrt()
    assert ((found_mean - mean).abs() / sd).max() < 0.05
    assert ((found_covariance - covariance).abs() / torch.outer(sd, sd)).max() < 0.08
    assert result.elbo == pytest.approx(evidence, abs=0.02)
    draws = draw_weighted(problem, result.flow, 1000, seed=1, batch=500)
    weighed = importance(draws.log_joint, draws.log_q)
    assert weighed.log_evidence == pytest.approx(evidence, abs=0.01)
    assert judge_k_hat(weighed.k_hat, 1000).word == "good"


def test_forward_and_reverse_take_the_same_steps():
    problem, *_ = linear_gaussian()
    a, b = (fit(problem, make_flow("gaussian-nsf", 4, seed=0), quick(gradient=g)) for g in ("reverse", "forward"))
    np.testing.assert_allclose(a.history["elbo"], b.history["elbo"], rtol=1e-8)


def test_score_function_finds_the_mean():
    problem, mean, covariance, _ = linear_gaussian(dim=2, outputs=3, sd=1.0)
    plain = Problem(2, lambda z, seed, gradient: problem.log_likelihood(z, seed, gradient).detach())
    result = fit(plain, make_flow("gaussian-diagonal", 2, seed=0),
                 FitConfig(gradient="score", particles=32, max_steps=400, stop=None))  # fmt: skip
    assert ((moments(result.flow)[0] - mean).abs() / covariance.diag().sqrt()).max() < 0.3


def test_a_mean_field_fit_of_a_correlated_posterior_is_called_out():
    a = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])

    def log_likelihood(z, seed, gradient):
        return torch.distributions.Normal(z @ a.T, 0.2).log_prob(torch.tensor([1.0])).sum(-1)

    problem = Problem(6, log_likelihood)
    grades = {}
    for name in ("gaussian-diagonal", "gaussian"):
        flow = fit(problem, make_flow(name, 6, seed=0), FitConfig(max_steps=1500)).flow
        draws = draw_weighted(problem, flow, 2000, seed=1, batch=1000)
        grades[name] = judge_k_hat(importance(draws.log_joint, draws.log_q).k_hat, 2000).word
    assert grades == {"gaussian-diagonal": "poor", "gaussian": "good"}


def test_a_spline_flow_beats_a_gaussian_on_a_curved_posterior():
    def log_likelihood(z, seed, gradient):
        return -0.5 * ((z[:, 1] - z[:, 0] ** 2 + 1) / 0.2) ** 2

    problem = Problem(2, log_likelihood)
    elbo = {}
    for name in ("gaussian", "gaussian-nsf"):
        elbo[name] = fit(problem, make_flow(name, 2, seed=0), FitConfig(max_steps=400, stop=None, particles=16)).elbo
    assert elbo["gaussian-nsf"] > elbo["gaussian"] + 0.1


def test_loss_weight_widens_the_posterior():
    problem, _, _, _ = linear_gaussian(dim=2)
    half = fit(problem, make_flow("gaussian", 2, seed=0), FitConfig(loss_weight=0.5, max_steps=500)).flow
    g = torch.Generator().manual_seed(0)
    a = torch.randn(6, 2, generator=g)
    expected = torch.linalg.inv(torch.eye(2) + 0.5 * a.T @ a / 0.25)
    torch.testing.assert_close(moments(half)[1], expected, rtol=0.15, atol=0.01)


def test_tempering_reaches_the_same_posterior_from_afar():
    problem, mean, covariance, _ = linear_gaussian(sd=0.05)
    result = fit(problem, make_flow("gaussian", 4, seed=0), FitConfig(temper_steps=100, temper_start=1e-3))
    assert result.history["temper"][0] == pytest.approx(1e-3)
    assert result.history["temper"][100] == 1.0
    assert ((moments(result.flow)[0] - mean).abs() / covariance.diag().sqrt()).max() < 0.15


# -- reproducible, resumable
# ------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("name", "kill_at"),
    [("gaussian", 1), ("gaussian-nsf", 7), ("gaussian", 19), ("gaussian-nsf", 33), ("gaussian", 39)],
)
def test_a_killed_and_resumed_run_equals_an_undisturbed_one(tmp_path, name, kill_at):
    problem, *_ = linear_gaussian()
    flow, config = make_flow(name, 4, seed=0), quick(checkpoint_seconds=0.0)

    def kill(p):
        if p.step == kill_at:
            raise Killed

    whole = fit(problem, flow, config)
    with pytest.raises(Killed):
        fit(problem, flow, config, folder=tmp_path, progress=kill)
    resumed = fit(problem, flow, config, folder=tmp_path, resume=True)
    for key in ("elbo", "log_likelihood", "gradient_norm", "learning_rate"):
        np.testing.assert_array_equal(whole.history[key], resumed.history[key])
    for p, q in zip(whole.flow.parameters(), resumed.flow.parameters(), strict=True):
        assert torch.equal(p, q)
    assert resumed.stopped_because == whole.stopped_because == "max_steps"


def test_a_finished_run_is_given_back_without_a_step(tmp_path):
    problem, *_ = linear_gaussian()
    first = fit(problem, make_flow("gaussian", 4, seed=0), quick(), folder=tmp_path)

    def never(p):
        raise AssertionError

    second = fit(problem, make_flow("gaussian", 4, seed=0), quick(), folder=tmp_path, resume=True, progress=never)
    assert second.steps == first.steps
    assert torch.equal(moments(second.flow)[0], moments(first.flow)[0])


def test_resuming_where_nothing_is_begins(tmp_path):
    problem, *_ = linear_gaussian()
    assert fit(problem, make_flow("gaussian", 4, seed=0), quick(), folder=tmp_path, resume=True).steps == 40


def test_checkpoints_of_other_runs_are_refused(tmp_path):
    problem, *_ = linear_gaussian()
    flow = make_flow("gaussian", 4, seed=0)
    fit(problem, flow, quick(), folder=tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="holds the checkpoint of a run"):
        fit(problem, flow, quick(), folder=tmp_path)
    with pytest.raises(CheckpointError, match="its particles is 8 and this run's is 4"):
        fit(problem, flow, quick(particles=4), folder=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="its flow is 'gaussian' and this run's is 'maf'"):
        fit(problem, make_flow("maf", 4, seed=0), quick(), folder=tmp_path, resume=True)
    other = dataclasses.replace(problem, fingerprint="other data")
    with pytest.raises(CheckpointError, match="its problem is '' and this run's is 'other data'"):
        fit(other, flow, quick(), folder=tmp_path, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_the_global_random_state_and_the_flow_given_are_left_alone():
    problem, *_ = linear_gaussian()
    flow = make_flow("gaussian", 4, seed=0)
    before, weights = torch.random.get_rng_state(), [p.clone() for p in flow.parameters()]
    fit(problem, flow, quick())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(flow.parameters(), weights, strict=True))


def test_seeds_differ_by_step_and_use():
    seeds = {derive_seed(s, t, u) for s in range(3) for t in range(50) for u in ("noise", "simulate")}
    assert len(seeds) == 300
    assert all(0 <= s < 2**63 for s in seeds)


@pytest.mark.parametrize("kind", ["independent", "antithetic", "sobol"])
def test_base_noise_is_standard_normal(kind):
    draws = torch.stack([base_noise(kind, 8, 3, derive_seed(0, t, "noise")) for t in range(1500)])
    assert draws.mean((0, 1)).abs().max() < 0.05
    assert (draws.var((0, 1)) - 1).abs().max() < 0.06
    assert torch.equal(base_noise(kind, 8, 3, 5), base_noise(kind, 8, 3, 5))


def test_antithetic_noise_is_paired():
    draws = base_noise("antithetic", 5, 2, 0)
    torch.testing.assert_close(draws[:2], -draws[3:])


# -- values that are not finite
# -------------------------------------------------------------------------------------


def fragile(limit, kind="value"):
    """A problem whose likelihood, or its gradient, breaks where z[0] > limit."""

    def log_likelihood(z, seed, gradient):
        value = -0.5 * ((z - 0.5) ** 2).sum(-1)
        broken = z[:, 0] > limit
        if kind == "value":
            return torch.where(broken, torch.nan, value)
        return value + torch.where(broken, z[:, 0] - z[:, 0].detach(), 0.0) * torch.where(broken, torch.inf, 0.0)

    return Problem(3, log_likelihood, names=("rate", "b", "c"), to_values=lambda z: z.exp())


@pytest.mark.parametrize("kind", ["value", "gradient"])
def test_particles_that_are_not_finite_are_left_out_and_counted(kind):
    result = fit(fragile(1.8, kind), make_flow("gaussian", 3, seed=0), quick(max_steps=150, min_particles=0.25))
    assert result.dropped > 10
    assert result.skipped == 0
    assert all(torch.isfinite(p).all() for p in result.flow.parameters())
    assert np.isfinite(result.elbo)


def test_a_dropped_particle_does_not_touch_the_others():
    """The step with a broken particle is the step of the particles that are left."""
    value = torch.tensor([1.0, torch.nan, 2.0, 3.0])

    def log_likelihood(z, seed, gradient):
        return value + z.sum(-1)

    result = fit(Problem(2, log_likelihood), make_flow("gaussian", 2, seed=0), quick(max_steps=1, particles=4))
    z = base_noise("independent", 4, 2, derive_seed(0, 0, "noise"))[[0, 2, 3]]
    assert result.history["log_likelihood"][0] == pytest.approx(float((value[[0, 2, 3]] + z.sum(-1)).mean()))


def test_skipped_steps_leave_the_weights_and_are_counted():
    calls = []

    def log_likelihood(z, seed, gradient):
        calls.append(seed)
        bad = torch.nan if len(calls) % 4 == 0 else 0.0
        return -0.5 * (z**2).sum(-1) + bad

    result = fit(Problem(2, log_likelihood), make_flow("gaussian", 2, seed=0), quick())
    assert result.skipped == 10
    assert np.isnan(result.history["elbo"][3::4]).all()
    assert np.isfinite(result.history["elbo_smoothed"]).all()


def test_too_many_end_the_run_and_name_the_parameter():
    with pytest.raises(FitError, match=r"10 steps in a row were skipped because .* farthest .* in") as caught:
        fit(fragile(-5.0), make_flow("gaussian", 3, seed=0, init_scale=0.1), quick())
    assert "\n" not in str(caught.value)
    with pytest.raises(FitError, match=r"differ most from the others in rate = [\d.]+ \(z = \+"):
        fit(fragile(0.3), make_flow("gaussian", 3, seed=0), quick(min_particles=1.0))


def test_a_fraction_of_skipped_steps_ends_the_run():
    calls = []

    def log_likelihood(z, seed, gradient):
        calls.append(seed)
        return -0.5 * (z**2).sum(-1) + (torch.nan if len(calls) % 3 else 0.0)

    with pytest.raises(FitError, match="of the last 50 steps were skipped"):
        fit(Problem(2, log_likelihood), make_flow("gaussian", 2, seed=0), quick(max_steps=200))


# -- limits, progress, misuse
# ------------------------------------------------------------------------------------------


def test_limits():
    problem, *_ = linear_gaussian()
    by_steps = fit(problem, make_flow("gaussian", 4, seed=0), quick(max_steps=30))
    assert (by_steps.steps, by_steps.stopped_because, by_steps.simulations) == (30, "max_steps", 240)
    by_time = fit(problem, make_flow("gaussian", 4, seed=0), quick(max_steps=10**6, max_seconds=1.0))
    assert by_time.stopped_because == "max_seconds"
    assert by_time.history["seconds"][-1] < 2.0
    assert by_time.history["learning_rate"][-1] < 0.1 * by_time.history["learning_rate"].max()  # the fall had its time
    assert sum(by_time.timings.values()) == pytest.approx(by_time.history["seconds"][-1], abs=0.05)


def test_the_rate_warms_up_stays_and_falls():
    problem, *_ = linear_gaussian()
    rate = fit(problem, make_flow("gaussian", 4, seed=0), quick(max_steps=100)).history["learning_rate"]
    assert (np.diff(rate[:20]) > 0).all()
    assert (rate[20:69] == rate[20]).all()
    assert (np.diff(rate[70:]) < 0).all()
    assert rate[-1] == pytest.approx(0.02 * rate[30])


def test_float32():
    problem, mean, covariance, _ = linear_gaussian()
    a32 = Problem(4, lambda z, seed, gradient: problem.log_likelihood(z.double(), seed, gradient).float())
    result = fit(a32, make_flow("gaussian", 4, seed=0, dtype=torch.float32), FitConfig(max_steps=500))
    assert result.flow.like.dtype == torch.float32
    assert ((moments(result.flow)[0] - mean).abs() / covariance.diag().sqrt()).max() < 0.15


def test_progress_records_and_the_bar():
    problem, *_ = linear_gaussian()
    calls, text = [], io.StringIO()
    with rich_progress(Console(file=text, force_terminal=True, width=160)) as bar:

        def both(p):
            calls.append(p)
            bar(p)

        fit(problem, make_flow("gaussian", 4, seed=0), quick(), progress=both)
    assert [p.step for p in calls] == list(range(1, 41))
    assert calls[0].phase == "climbing"
    assert calls[-1].phase == "annealing"
    assert calls[-1].eta_seconds == 0
    assert calls[-1].memory_mib > 50
    for word in ("ELBO", "left", "MiB"):
        assert word in text.getvalue()


def test_a_problem_from_a_space_names_its_parameters():
    space = ParameterSpace((Parameter("rate", torch.distributions.LogNormal(0.0, 1.0)),))
    problem = Problem.from_space(space, lambda theta, seed, gradient: -((theta["rate"] - 2) ** 2) / 0.02)
    result = fit(problem, make_flow("gaussian", 1, seed=0), FitConfig(max_steps=400))
    rate = space.to_theta(result.flow.sample(5000, torch.Generator().manual_seed(0)))["rate"]
    assert float(rate.mean()) == pytest.approx(2, abs=0.05)
    assert problem.coordinate_names == ("rate",)
    with pytest.raises(FitError, match="rate = "):
        fit(Problem.from_space(space, lambda theta, s, g: theta["rate"] * torch.nan), make_flow("gaussian", 1, seed=0))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"particles": 0}, "particles = 0"),
        ({"gradient": "backward"}, "one of reverse, forward, score"),
        ({"gradient": "score", "particles": 1}, "at least 2"),
        ({"noise": "halton"}, "antithetic"),
        ({"estimator": "stl"}, "path"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_seconds": -1.0}, "max_seconds"),
        ({"loss_weight": 0.0}, "loss_weight"),
        ({"anneal_fraction": 1.0}, "anneal_fraction"),
    ],
)
def test_senseless_settings_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        FitConfig(**changes)


@pytest.mark.parametrize(
    ("log_likelihood", "text"),
    [
        (lambda z, s, g: z, "expected one value for each of 8 particles"),
        (lambda z, s, g: z.detach().sum(-1), "no gradient with respect to z"),
    ],
)
def test_broken_problems_are_refused(log_likelihood, text):
    with pytest.raises(ValueError, match=text):
        fit(Problem(2, log_likelihood), make_flow("gaussian", 2, seed=0), quick())


def test_misuse_is_refused():
    problem, *_ = linear_gaussian()
    with pytest.raises(ValueError, match="the flow has 3 dimensions and the problem 4"):
        fit(problem, make_flow("gaussian", 3, seed=0))
    with pytest.raises(ValueError, match="without a folder"):
        fit(problem, make_flow("gaussian", 4, seed=0), resume=True)
    with pytest.raises(ValueError, match="2 names"):
        Problem(3, lambda z, s, g: z.sum(-1), names=("a", "b"))
    assert StopRule().min_steps >= StopRule().min_window
