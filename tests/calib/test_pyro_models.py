"""Ordinary Pyro models through `calibrate`, against closed forms and Pyro's own sampler."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from calib import TruncatedNormal, calibrate
from calib._hmc_method import sample_density
from calib._pyro_read import read_pyro
from calib._pyro_space import DependentSpace

N = 8
Y = 0.899 + torch.linspace(-0.6, 0.6, N, dtype=torch.float64)
EXACT = (32 / 33 * 0.899, 33**-0.5)  # N(0, 1) prior, eight data with standard deviation 1 / 2: 0.872 +- 0.174
EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def plate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("n", N):
        pyro.sample("y", dist.Normal(mu, 0.5), obs=y)


def event(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(mu, 0.5).expand([N]).to_event(1), obs=y)


def bare(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(mu, 0.5), obs=y)


def sequential(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    for i in pyro.plate("n", N):
        pyro.sample(f"y_{i}", dist.Normal(mu, 0.5), obs=y[i])


def subsampled(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("n", N, subsample_size=3) as index:
        pyro.sample("y", dist.Normal(mu, 0.5), obs=y[index])


def nested(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", 2, dim=-2), pyro.plate("column", 4, dim=-1):
        pyro.sample("y", dist.Normal(mu, 0.5), obs=y.reshape(2, 4))


def factor(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.factor("y", dist.Normal(mu, 0.5).log_prob(y).sum())


def deterministic(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    twice = pyro.deterministic("twice", 2 * mu)
    with pyro.plate("n", N):
        pyro.sample("y", dist.Normal(twice / 2, 0.5), obs=y)


def masked(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    longer = torch.cat([y, torch.full((3,), math.nan)])
    with pyro.plate("n", N + 3), poutine.mask(mask=~longer.isnan()):
        pyro.sample("y", dist.Normal(mu, 0.5), obs=longer)


def branching(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    mean = mu if mu > 0 else 1.0 * mu  # cannot be run for many particles at once
    with pyro.plate("n", N):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def dependent(y):
    """The same posterior of mu: a local site in each place, summed out by hand."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("n", N):
        local = pyro.sample("local", dist.Normal(mu, 0.3))
        pyro.sample("y", dist.Normal(local, 0.4), obs=y)


SAME = (plate, event, bare, sequential, subsampled, nested, factor, deterministic, masked, branching, dependent)


def normal_joint(mu):
    """Log posterior density of mu up to a constant."""
    return -0.5 * ((mu - EXACT[0]) / EXACT[1]) ** 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("model", SAME[:-1])
def test_one_posterior_written_in_many_ways(model, dtype):
    torch.set_default_dtype(dtype)
    density = read_pyro(model, Y)
    assert (density.way == "loop") == (model is branching)
    z = torch.linspace(-2, 3, 11, dtype=torch.float64)[:, None].requires_grad_()
    for rows in (z, z[:N], z[:1]):  # also as many particles as data, and one
        value = density.log_weight(rows) - 0.5 * rows[:, 0] ** 2
        expected = normal_joint(rows[:, 0])
        torch.testing.assert_close(value - value[0], expected - expected[0], rtol=1e-5, atol=1e-5)
        (slope,) = torch.autograd.grad(value.sum(), z)
        torch.testing.assert_close(slope[: len(rows), 0], (EXACT[0] - rows[:, 0]) / EXACT[1] ** 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "model", [pytest.param(plate, marks=pytest.mark.slow), pytest.param(subsampled, marks=pytest.mark.slow), dependent]
)
def test_calibrated_posterior_is_exact(model):
    found = calibrate(model, data=Y, budget=5000, seed=1)
    assert found.report["method"] == "hmc"
    assert found.verdict.state in ("good", "usable")
    mu = found.sample(2000)["mu"]
    assert abs(float(mu.mean()) - EXACT[0]) < 0.2 * EXACT[1]
    assert 0.85 < float(mu.std()) / EXACT[1] < 1.15


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_regression_with_an_unknown_scale(seed):
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-1, 1, 30, dtype=torch.float32)
    y = 1 + 2 * x + 0.3 * torch.randn(30, generator=generator, dtype=torch.float32)

    def model(y):
        a, b = pyro.sample("a", dist.Normal(0.0, 3.0)), pyro.sample("b", dist.Normal(0.0, 3.0))
        s = pyro.sample("s", dist.LogNormal(-1.0, 0.5))
        with pyro.plate("n", 30):
            pyro.sample("y", dist.Normal(a + b * x, s), obs=y)

    found = calibrate(model, data=y, budget=5000, seed=seed)
    assert found.verdict.state in ("good", "usable")
    draws = found.sample(1000)
    for name, mean, sd in (("a", 0.97, 0.05), ("b", 2.12, 0.09), ("s", 0.29, 0.04)):  # by quadrature
        assert abs(float(draws[name].mean()) - mean) < 0.3 * sd
        assert 0.8 < float(draws[name].std()) / sd < 1.25


def test_data_that_a_plate_would_count_many_times_are_refused():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("n", N):
            pyro.sample("y", dist.Normal(mu, 0.5), obs=y[:, None])

    with pytest.raises(ValueError, match=r"site 'y' has shape \(8, 8\), but its plates have shape \(8,\)"):
        read_pyro(model, Y)


def test_a_hierarchy_is_whitened_and_its_density_is_that_of_the_model():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("school", 8):
            theta = pyro.sample("theta", dist.Normal(mu, tau))
            pyro.sample("y", dist.Normal(theta, ERRORS), obs=y)

    for centred in (False, True):
        density = read_pyro(model, EFFECTS, centred=centred)
        assert density.sites["theta"].how == ("support" if centred else "conditional")
        space = DependentSpace(density)
        z = 0.5 * torch.randn(5, density.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        theta = space.to_theta(z)
        torch.testing.assert_close(space.to_z(theta), z)
        found = density.log_weight(z) + dist.Normal(0.0, 1.0).log_prob(z).sum(1)
        expected = dist.Normal(0.0, 5.0).log_prob(theta["mu"]) + dist.HalfCauchy(5.0).log_prob(theta["tau"])
        expected += dist.Normal(theta["mu"][:, None], theta["tau"][:, None]).log_prob(theta["theta"]).sum(1)
        expected += dist.Normal(theta["theta"], ERRORS).log_prob(EFFECTS).sum(1)
        torch.testing.assert_close(found - sum(space.log_slope(z).values()), expected)


def test_bounds_that_depend_on_a_site_and_priors_without_a_quantile_of_their_own():
    def model(y):
        a = pyro.sample("a", dist.Uniform(0.0, 1.0))
        b = pyro.sample("b", dist.Uniform(torch.zeros_like(a), 1 - a))
        c = pyro.sample("c", dist.Gamma(1 + a, 2.0))
        d = pyro.sample("d", TruncatedNormal(c, 1.0, low=0.0))
        p = pyro.sample("p", dist.Dirichlet(torch.stack([a, b, c]) + 1))
        pyro.sample("y", dist.Normal(a + b + c + d + p[0], 1.0), obs=y)

    density = read_pyro(model, torch.tensor(1.0))
    assert [s.how for s in density.sites.values()] == ["prior", "conditional", "support", "conditional", "support"]
    space = DependentSpace(density)
    z = torch.randn(6, density.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta = space.to_theta(z)
    assert (theta["a"] + theta["b"] < 1).all()
    assert torch.allclose(theta["p"].sum(-1), torch.ones(6))
    torch.testing.assert_close(space.to_z(theta), z)
    # the density in the parameters' own units, by Pyro's trace at each draw
    found = density.log_weight(z) + dist.Normal(0.0, 1.0).log_prob(z).sum(1) - sum(space.log_slope(z).values())
    for i in range(6):
        at = {name: value[i] for name, value in theta.items()}
        expected = poutine.trace(poutine.condition(model, data=at)).get_trace(torch.tensor(1.0)).log_prob_sum()
        torch.testing.assert_close(found[i], expected)


def test_discrete_sites_are_summed_over_or_refused():
    y = torch.tensor([-1.0, 0.5, 2.0, 2.5])

    def model(y, how="parallel"):
        share = pyro.sample("share", dist.Beta(2.0, 2.0))
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
        with pyro.plate("n", 4):
            infer = {"enumerate": how} if how else {}
            k = pyro.sample("k", dist.Bernoulli(share), infer=infer)
            pyro.sample("y", dist.Normal(mu[k.long()], 1.0), obs=y)

    density = read_pyro(model, y)
    z = torch.tensor([[0.3, -0.4, 0.9], [-1.0, 0.2, 0.1]], dtype=torch.float64)
    theta = DependentSpace(density).to_theta(z)
    parts = dist.Normal(theta["mu"][:, None], 1.0).log_prob(y[None, :, None])
    weights = torch.stack([1 - theta["share"], theta["share"]], -1).log()[:, None]
    torch.testing.assert_close(density.log_weight(z), torch.logsumexp(parts + weights, -1).sum(-1))
    with pytest.raises(ValueError, match=r"site 'k' is discrete .* mark it infer="):
        read_pyro(lambda y: model(y, None), y)


def test_models_that_have_no_posterior_are_refused_in_a_sentence():
    def nothing_observed(y):
        pyro.sample("a", dist.Normal(0.0, 1.0))

    def parameter(y):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(a + pyro.param("b", torch.tensor(0.0)), 1.0), obs=y)

    def missing(y):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(a, 1.0), obs=torch.tensor(math.nan))

    def negative(y):
        a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
        pyro.sample("y", dist.Poisson(a), obs=torch.tensor(-3.0))

    def chance(y):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(a + torch.randn(()), 1.0), obs=y)

    y = torch.tensor(1.0)
    for model, text in (
        (nothing_observed, "no observed site"),
        (parameter, "is a pyro.param, which has no posterior"),
        (missing, "1 observations that are not finite"),
        (negative, "1 observations that a Poisson cannot give"),
    ):
        with pytest.raises(ValueError, match=text):
            read_pyro(model, y)
    assert read_pyro(chance, y).random
    with pytest.raises(ValueError, match="changes with the seed"):
        calibrate(chance, data=y, budget=1000, method="hmc")
    pyro.clear_param_store()


def test_a_model_that_raises_at_some_draws_is_impossible_there():
    def model(y):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        root = torch.linalg.cholesky(a * torch.eye(2))
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), scale_tril=root), obs=y)

    density = read_pyro(model, torch.tensor([1.0, -0.5]))
    z = torch.tensor([[0.5], [-0.5], [1.5]], dtype=torch.float64)
    found = density.log_weight(z)
    assert found[1] == -math.inf
    torch.testing.assert_close(found[::2], dist.Normal(0.0, z[::2].sqrt()).log_prob(torch.tensor([1.0, -0.5])).sum(1))
    draws = calibrate(model, data=torch.tensor([1.0, -0.5]), budget=2000).sample(500)["a"]
    assert (draws > 0).all()


def test_funnel():
    def model(data):
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        with pyro.plate("n", 5):
            pyro.sample("x", dist.Normal(0.0, (v / 2).exp()))
        pyro.sample("y", dist.Normal(v, 1.0), obs=data)

    found = calibrate(model, data=torch.tensor(1.0), budget=6000)
    assert found.verdict.state in ("good", "usable")
    v = found.sample(2000)["v"]  # exact: 0.9 +- sqrt(0.9)
    assert abs(float(v.mean()) - 0.9) < 0.15
    assert 0.85 < float(v.std()) / 0.9**0.5 < 1.15


@pytest.mark.slow
def test_two_modes_far_apart_are_not_called_good():
    def model(data):
        a = pyro.sample("a", dist.Normal(0.0, 3.0))
        pyro.sample("y", dist.Normal(a**2, 0.05), obs=data)

    found = calibrate(model, data=torch.tensor(9.0), budget=4000, seed=0)
    modes = found.sample(500)["a"].sign().unique()
    assert len(modes) == 1 or found.verdict.state in ("poor", "unfinished")


def test_arviz_keeps_chains_and_recomputes_r_hat(tmp_path):
    import arviz as az

    from calib import Calibration, load_inference_data, save_inference_data

    found = calibrate(plate, data=Y, budget=3000)
    tree = found.to_arviz()
    sampler = found.report["sampler"]
    assert tree["posterior"]["mu"].shape == (sampler["chains"], sampler["draws"])
    assert {"lp", "energy", "diverging"} <= set(tree["sample_stats"])
    r_hat = float(
        az.rhat(tree["posterior"].to_dataset() if hasattr(tree["posterior"], "to_dataset") else tree["posterior"])["mu"]
    )
    assert r_hat == pytest.approx(sampler["r_hat"], abs=0.002)
    assert tree["observed_data"]["y"].shape == (N,)
    save_inference_data(tree, tmp_path / "posterior.nc")
    assert load_inference_data(tmp_path / "posterior.nc")["posterior"]["mu"].shape == tree["posterior"]["mu"].shape
    found.save(tmp_path / "saved")
    second = Calibration.load(tmp_path / "saved")
    assert torch.equal(second.sample(50, seed=3)["mu"], found.sample(50, seed=3)["mu"])


def test_predictions_and_the_check_of_a_pyro_model():
    found = calibrate(deterministic, data=Y, budget=2000)
    drawn, derived = found.predict(100)
    assert drawn["y"].shape == (100, N)
    torch.testing.assert_close(derived["twice"], 2 * found.sample(100)["mu"])
    page = found.check(draws=100)
    assert all(v.word in ("pass", "warn") for v in page.verdicts)

    def wrong(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("n", N):
            pyro.sample("y", dist.Normal(mu, 0.5), obs=y)

    off = calibrate(wrong, data=Y * torch.tensor([1.0, -9.0] * 4), budget=1000)
    assert any(v.word == "fail" for v in off.check(draws=100).verdicts)


def test_fewer_starts_than_dimensions_do_not_keep_chains_in_their_subspace():
    """Their covariance has no full rank; chains on such a metric would agree with each other and be wrong."""
    few = torch.randn(6, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = sample_density(lambda z: -0.5 * (z**2).sum(1), 12, budget=6000, seed=0, start=few)
    z = found.chains.z.flatten(0, 1)
    assert float(z.mean(0).abs().max()) < 0.25
    size = torch.linalg.eigvalsh(z.T.cov())
    assert float(size.min()) > 0.6
    assert float(size.max()) < 1.5


def test_the_same_seed_gives_the_same_draws():
    one, two, other = (calibrate(plate, data=Y, budget=500, seed=seed).sample(20)["mu"] for seed in (4, 4, 5))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
