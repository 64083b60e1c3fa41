"""Several calibrations under one prior with a learnt standard deviation."""

import doctest

import pytest
import torch
from torch.distributions import HalfCauchy, HalfNormal, Independent, LogNormal, Normal, Poisson

import calib.composition._pooled
from calib import calibrate
from calib.composition import Region, pool, pooled

SCHOOLS = {"y": [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], "sd": [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]}


def one_mean(theta, seed):
    return theta["mean"][:, None]


def school(y, sd, prior):
    return Region(one_mean, {"mean": prior}, [y], lambda out: Independent(Normal(out, sd), 1))


def test_examples():
    assert doctest.testmod(calib.composition._pooled).failed == 0


def test_the_normal_hierarchical_model():
    """Means and standard deviations of the effects by quadrature over tau, everything else in closed form."""
    y, s, b = torch.tensor([1.5, -0.5, 2.5, 0.0], dtype=torch.float64), 0.8, 2.0
    regions = {f"r{i}": school(float(v), s, Normal(0.0, b)) for i, v in enumerate(y)}
    problem, found = pooled(regions, shared=("mean",), sd=HalfNormal(1.0), budget=20_000, seed=0)
    draws = found.sample(4000)
    own = torch.stack([problem.theta_of(r, draws)["mean"] for r in regions], 1)

    grid = torch.linspace(1e-3, 5.0, 4000, dtype=torch.float64)
    tau2 = (b * grid) ** 2
    variance = tau2 + s**2
    n = len(y)
    precision = 1 / b**2 + n / variance  # of mu
    centre = (y.sum() / variance) / precision
    # y ~ N(0, variance I + b^2 11')
    inside = (y**2).sum() / variance - centre**2 * precision
    log = -0.5 * n * variance.log() - 0.5 * (1 + n * b**2 / variance).log() - 0.5 * inside - 0.5 * grid**2
    weight = torch.softmax(log, 0)
    keep = tau2 / variance
    mean = keep[:, None] * y + (1 - keep[:, None]) * centre[:, None]
    var = (keep * s**2 + (1 - keep) ** 2 / precision)[:, None].expand_as(mean)
    exact = weight @ mean
    sd = (weight @ (var + mean**2) - exact**2).sqrt()
    torch.testing.assert_close(own.mean(0), exact, atol=0.06, rtol=0.0)
    torch.testing.assert_close(own.std(0), sd, atol=0.0, rtol=0.06)
    assert float(draws["mean_sd"].mean()) == pytest.approx(float(weight @ grid), abs=0.04)


@pytest.mark.slow
def test_eight_schools():
    """Reference of posteriordb (10,000 draws): mu 4.41 (3.31), tau 3.60 (3.20), theta 6.15 ... 4.88."""
    rows = zip(SCHOOLS["y"], SCHOOLS["sd"], strict=True)
    regions = {f"school {i}": school(y, sd, Normal(0.0, 5.0)) for i, (y, sd) in enumerate(rows)}
    problem, found = pooled(regions, shared=("mean",), sd=HalfCauchy(1.0), budget=25_000, seed=0)
    draws = found.sample(8000)
    assert float(draws["mean"].mean()) == pytest.approx(4.41, abs=0.25)
    assert float(draws["mean"].std()) == pytest.approx(3.31, rel=0.06)
    tau = 5 * draws["mean_sd"]
    assert float(tau.mean()) == pytest.approx(3.60, abs=0.3)
    means = [float(problem.theta_of(r, draws)["mean"].mean()) for r in regions]
    assert means == pytest.approx([6.15, 4.94, 3.91, 4.80, 3.61, 4.05, 6.32, 4.88], abs=0.35)


@pytest.mark.slow
def test_a_region_with_three_weeks_is_forecast_with_what_the_others_say():
    """Outbreaks that grow alike and turn at the same time: alone, three weeks say nothing of the turn."""
    weeks = torch.arange(12, dtype=torch.float64)

    def outbreak(theta, seed):
        turn, width, size = (theta[n][:, None] for n in ("turn", "width", "size"))
        return size * torch.exp(-0.5 * ((weeks - turn) / width) ** 2)

    def counts(out):
        return Independent(Poisson(out + 0.1), 1)

    prior = {"turn": Normal(8.0, 4.0), "width": LogNormal(1.0, 0.5), "size": LogNormal(4.0, 1.5)}
    generator = torch.Generator().manual_seed(2)
    truth = [(6.0, 2.0, 200.0), (6.3, 2.1, 80.0), (5.8, 1.9, 400.0), (6.1, 2.0, 150.0), (6.0, 2.0, 120.0)]
    series = [
        torch.poisson(
            outbreak({n: torch.tensor([v]) for n, v in zip(prior, row, strict=True)}, 0)[0], generator=generator
        )
        for row in truth
    ]
    late = series[4].clone()
    late[3:] = torch.nan
    regions = {f"r{i}": Region(outbreak, prior, y, counts) for i, y in enumerate([*series[:4], late])}
    problem, found = pooled(regions, shared=("turn", "width"), sd=HalfNormal(0.5), budget=20_000, seed=1)
    draws = found.sample(1000)
    forecast = problem.outputs("r4", draws, 0)[:, 3:].sum(1)
    alone = calibrate(outbreak, prior, late, likelihood=counts, method="hmc", gradient="reverse", budget=10_000)
    by_itself = outbreak(alone.sample(1000), 0)[:, 3:].sum(1)
    happened = float(series[4][3:].sum())
    low, high = forecast.quantile(torch.tensor([0.05, 0.95], dtype=forecast.dtype)).tolist()
    assert low < happened < high
    width = [float((x.quantile(0.95) / x.quantile(0.05)).log()) for x in (forecast, by_itself)]
    assert width[0] < 0.5 * width[1]


def test_bad_input_is_refused_in_one_sentence():
    a, b = (school(1.0, 1.0, Normal(0.0, s)) for s in (1.0, 2.0))
    other = Region(one_mean, {"level": Normal(0.0, 1.0)}, [1.0], a.likelihood)
    wrong = {
        "one region alone": ({"a": a}, ("mean",)),
        "no parameter is shared": ({"a": a, "b": a}, ()),
        "has no parameter 'mean'": ({"a": a, "b": other}, ("mean",)),
        "give shared parameters one prior": ({"a": a, "b": b}, ("mean",)),
        "leave out ':'": ({"a:1": a, "b": a}, ("mean",)),
    }
    for message, (regions, shared) in wrong.items():
        with pytest.raises(ValueError, match=message):
            pool(regions, shared=shared)
    with pytest.raises(ValueError, match="no region 'c'"):
        pool({"a": a, "b": a}, shared=("mean",)).theta_of("c", {})


def test_parameters_that_are_not_shared_are_each_regions_own():
    prior = {"mean": Normal(0.0, 1.0), "scale": LogNormal(0.0, 1.0)}
    region = Region(
        lambda theta, seed: theta["mean"][:, None] * theta["scale"][:, None],
        prior,
        [1.0],
        lambda out: Independent(Normal(out, 1.0), 1),
    )
    problem = pool({"a": region, "b": region}, shared=("mean",))
    assert [p.name for p in problem.space.parameters] == ["mean", "mean_sd", "mean_by_region", "a:scale", "b:scale"]
    theta = problem.space.to_theta(
        torch.randn(5, problem.space.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    own = problem.theta_of("b", theta)
    torch.testing.assert_close(own["scale"], theta["b:scale"])
    torch.testing.assert_close(own["mean"], theta["mean"] + theta["mean_sd"] * theta["mean_by_region"][:, 1])
    assert problem(theta, 0).shape == (5, 1)
