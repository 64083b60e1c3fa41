"""Ordinary input at the front door: every call ends in a right answer, a verdict that says it is not, or one sentence."""

import io
import math
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.distributions import Independent, LogNormal, Normal, Poisson, Uniform

from calib import Calibration, FitError, Parameter, ParameterSpace, calibrate, rich_progress

PRIOR = {"x": Normal(0.0, 1.0)}


def line(theta, seed):
    return theta["x"][:, None] * torch.tensor([1.0, 2.0])


def observed_with(outputs):
    return Independent(Normal(outputs, 0.5), 1)


DATA = [0.8, 1.9]
MEAN = (0.8 + 2 * 1.9) / 0.25 / (1 + 5 / 0.25)
SD = (1 + 5 / 0.25) ** -0.5


def assert_right(found, name="x", mean=MEAN, sd=SD):
    draws = found.sample(4000)[name]
    assert abs(float(draws.mean()) - mean) < 0.15 * sd + 0.02 * sd
    assert abs(float(draws.std()) / sd - 1) < 0.12
    assert found.verdict.state in ("good", "usable")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("gradient", ["auto", "score"])
def test_regression_whose_output_is_the_log_likelihood(gradient, seed):
    x = torch.linspace(-1.0, 1.0, 30)
    y = 1 + 2 * x + 0.3 * torch.randn(30, generator=torch.Generator().manual_seed(3))
    prior = {"a": Normal(0.0, 3.0), "b": Normal(0.0, 3.0), "s": LogNormal(-1.0, 0.5)}

    def log_likelihood(theta, seed):
        mean = theta["a"][:, None] + theta["b"][:, None] * x
        return Normal(mean, theta["s"][:, None]).log_prob(y).sum(-1)

    axes = (torch.linspace(0.6, 1.4, 61), torch.linspace(1.5, 2.7, 61), torch.linspace(0.15, 0.6, 61))
    grid = dict(zip(prior, (g.flatten() for g in torch.meshgrid(*axes, indexing="ij")), strict=True))
    log = log_likelihood(grid, 0) + sum(p.log_prob(grid[n]) for n, p in prior.items())
    weight = torch.softmax(log, 0)
    found = calibrate(log_likelihood, prior, budget=1000, seed=seed, gradient=gradient)
    assert found.verdict.state in ("good", "usable")
    draws = found.sample(4000)
    for name in prior:
        mean = (weight * grid[name]).sum()
        sd = (weight * (grid[name] - mean) ** 2).sum().sqrt()
        assert abs(draws[name].mean() - mean) < 0.2 * sd, name
        assert abs(draws[name].std() / sd - 1) < 0.2, name


@pytest.mark.slow
def test_a_log_likelihood_whose_fit_is_wrong_is_not_called_good():
    """A narrow ridge that a hundred runs cannot follow: whatever comes out, it must not pass."""

    def ridge(theta, seed):
        z = torch.stack([theta[n] for n in "ab"], -1)
        return -0.5 * ((z.sin() * 3).cumsum(-1) ** 2).sum(-1) / 0.003**2

    found = calibrate(ridge, {n: Normal(0.0, 3.0) for n in "ab"}, budget=150, gradient="score")
    assert found.verdict.state in ("poor", "unfinished")


@pytest.mark.parametrize(
    ("data", "likelihood"),
    [
        ([5.0] * 10, lambda m: Independent(Poisson(m.exp()), 1)),
        ([50.0], lambda m: Independent(Poisson(m.exp().expand(-1, 10)), 1)),
    ],
)
def test_data_of_another_shape_than_the_outputs(data, likelihood):
    with pytest.raises(ValueError, match="one event of the likelihood has shape"):
        calibrate(lambda t, s: t["x"][:, None], PRIOR, data, likelihood=likelihood, budget=300)


def test_integer_outputs_do_not_cut_the_data():
    """Poisson counts of whole numbers of people: 2.9 stays 2.9."""
    wanted, prior = 2.9, {"size": Uniform(0.0, 8.0)}

    def whole(theta, seed):
        return (theta["size"][:, None] * 1000).round().long()

    found = calibrate(
        whole, prior, [wanted], likelihood=lambda m: Independent(Normal(m / 1000, 0.2), 1), budget=300, gradient="score"
    )
    assert_right(found, "size", 2.9, 0.2)


@pytest.mark.parametrize(
    "change",
    [
        lambda out: out.detach().numpy(),
        lambda out: out.detach().numpy().astype(np.float32),
        lambda out: out.float(),
        lambda out: out.tolist(),
        lambda out: {"one": out[:, 0], "two": out[:, 1]},
    ],
)
def test_simulators_that_return_other_things_than_tensors(change):
    found = calibrate(lambda t, s: change(line(t, s)), PRIOR, np.array(DATA), likelihood=observed_with, budget=300)
    assert_right(found)


def test_a_numpy_simulator_needs_no_word_about_gradients():
    found = calibrate(
        lambda t, s: np.outer(t["x"].numpy(), [1.0, 2.0]), PRIOR, DATA, likelihood=observed_with, budget=300
    )
    assert found.report["gradient"] == "score"
    assert_right(found)
    with pytest.raises(ValueError, match="gradient='score'"):
        calibrate(
            lambda t, s: np.outer(t["x"].numpy(), [1.0, 2.0]),
            PRIOR,
            DATA,
            likelihood=observed_with,
            budget=300,
            gradient="reverse",
        )


def test_missing_data():
    data = [0.8, math.nan]
    found = calibrate(line, PRIOR, data, likelihood=observed_with, budget=300)
    assert_right(found, "x", 0.8 / 0.25 / (1 + 1 / 0.25), (1 + 1 / 0.25) ** -0.5)
    page = found.check(line, observed_with, draws=60)
    assert page.word in ("pass", "warn")


@pytest.mark.parametrize("seed", range(4))
def test_simulations_that_are_nan_at_small_budgets(seed):
    def often(theta, s):
        return torch.where(theta["x"][:, None] < -0.2, torch.nan, line(theta, s))

    found = calibrate(often, PRIOR, DATA, likelihood=observed_with, budget=200, seed=seed, gradient="score")
    assert found.report["dropped"] > 0
    assert_right(found)


def test_a_simulator_that_raises_loses_only_those_draws():
    def picky(theta, seed):
        if bool((theta["x"] > 1.6).any()):
            raise OverflowError("too many infected")
        return line(theta, seed)

    found = calibrate(picky, PRIOR, DATA, likelihood=observed_with, budget=400, gradient="score")
    assert found.report["failures"]["OverflowError: too many infected"] > 0
    assert_right(found)


def test_a_simulator_that_always_raises():
    with pytest.raises(FitError, match="KeyError: 'beta'"):
        calibrate(lambda t, s: t["beta"], PRIOR, DATA, likelihood=observed_with, budget=300)


def test_no_draw_has_a_likelihood():
    bounded = lambda m: Independent(Uniform(m, m + 1, validate_args=False), 1)  # noqa: E731
    with pytest.raises(FitError, match="finite log likelihood"):
        calibrate(lambda t, s: t["x"][:, None] * 0, PRIOR, [5.0], likelihood=bounded, budget=300)


def test_the_same_seed_in_any_type_gives_the_same_draws():
    one, two = (
        calibrate(line, PRIOR, DATA, likelihood=observed_with, budget=200, seed=s) for s in (3, torch.tensor(3))
    )
    assert torch.equal(one.sample(5)["x"], two.sample(5)["x"])
    assert type(two.report["seed"]) is int


def draw_elsewhere(found):
    return found.sample(5)["x"], found.can_correct, found.space.sample_prior(2, torch.Generator().manual_seed(0))["x"]


@pytest.mark.slow  # the worker imports everything anew
def test_a_calibration_goes_to_a_spawned_worker():
    found = calibrate(line, PRIOR, DATA, likelihood=observed_with, budget=200)
    assert pickle.loads(pickle.dumps(found)).can_correct
    local = calibrate(line, PRIOR, DATA, likelihood=lambda m: observed_with(m), budget=200)
    assert not pickle.loads(pickle.dumps(local)).can_correct
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        draws, can_correct, _ = pool.submit(draw_elsewhere, found).result()
    assert can_correct
    torch.testing.assert_close(draws, found.sample(5)["x"])


def test_a_space_can_be_pickled():
    space = ParameterSpace((Parameter("p", Independent(LogNormal(torch.zeros(2), 1.0), 1), labels=("a", "b")),))
    second = pickle.loads(pickle.dumps(space))
    assert second.names == space.names
    torch.testing.assert_close(second.to_theta(torch.ones(2))["p"], space.to_theta(torch.ones(2))["p"])


def test_a_progress_bar():
    text = io.StringIO()
    with rich_progress(Console(file=text, force_terminal=True, width=160)) as progress:
        calibrate(line, PRIOR, DATA, likelihood=observed_with, budget=300, progress=progress)
    assert "simulations" in text.getvalue()
    assert "left" in text.getvalue()
    with rich_progress(Console(file=io.StringIO(), force_terminal=True, width=160)) as progress:
        calibrate(line, PRIOR, DATA, likelihood=observed_with, budget=1500, method="vi", progress=progress)


def test_a_log_likelihood_is_corrected_after_loading(tmp_path):
    found = calibrate(lambda t, s: -2 * (t["x"] - 0.5) ** 2, PRIOR, budget=200)
    found.save(tmp_path / "c")
    second = Calibration.load(tmp_path / "c")
    assert second.can_correct
    one, two = (f.sample(8, seed=1, corrected=True)["x"] for f in (found, second))
    torch.testing.assert_close(one, two)
    with pytest.raises(ValueError, match=r"found\.verdict"):
        found.check(line, None)


def test_draws_without_a_generator():
    found = calibrate(line, PRIOR, DATA, likelihood=observed_with, budget=200)
    assert torch.equal(found.sample(4, seed=1)["x"], found.sample(4, seed=1)["x"])
    assert not torch.equal(found.sample(4, seed=1)["x"], found.sample(4, seed=2)["x"])
    with pytest.raises(TypeError, match="count"):
        found.sample(3.5)
