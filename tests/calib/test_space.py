import math

import pyro.distributions as pdist
import pytest
import torch
import torch.distributions as dist
from scipy import stats
from torch.func import jacfwd, jacrev, jvp, vmap

from calib import Parameter, ParameterSpace, TruncatedNormal


def logit_normal(loc, scale):
    return dist.TransformedDistribution(dist.Normal(loc, scale), [dist.SigmoidTransform()])


def scaled_logit_normal(loc, scale):
    chain = [dist.SigmoidTransform(), dist.AffineTransform(1.0, 3.0)]
    return dist.TransformedDistribution(dist.Normal(loc, scale), chain)


def inverse_logit(u):
    return 1 / (1 + math.e ** -stats.norm(0.2, 0.7).ppf(u))


# name: (prior, made in the test's precision; quantile function; family)
CLOSED = {
    "normal": (lambda: dist.Normal(1.0, 2.0), stats.norm(1, 2).ppf, "Normal"),
    "lognormal": (lambda: dist.LogNormal(0.3, 0.5), stats.lognorm(0.5, scale=math.exp(0.3)).ppf, "LogNormal"),
    "pyro": (lambda: pdist.LogNormal(0.3, 0.5), stats.lognorm(0.5, scale=math.exp(0.3)).ppf, "LogNormal"),
    "logitnormal": (lambda: logit_normal(0.2, 0.7), inverse_logit, "LogitNormal"),
    "scaled": (lambda: scaled_logit_normal(0.2, 0.7), lambda u: 1 + 3 * inverse_logit(u), "LogitNormal"),
    "uniform": (lambda: dist.Uniform(-1.0, 3.0), stats.uniform(-1, 4).ppf, "Uniform"),
    "halfnormal": (lambda: dist.HalfNormal(2.0), stats.halfnorm(scale=2).ppf, "HalfNormal"),
    "exponential": (lambda: dist.Exponential(0.5), stats.expon(scale=2).ppf, "Exponential"),
    "halfcauchy": (lambda: dist.HalfCauchy(2.0), stats.halfcauchy(scale=2).ppf, "HalfCauchy"),
    "cauchy": (lambda: dist.Cauchy(1.0, 2.0), stats.cauchy(1, 2).ppf, "Cauchy"),
    "weibull": (lambda: dist.Weibull(2.0, 1.5), stats.weibull_min(1.5, scale=2).ppf, "Weibull"),
    "above": (lambda: TruncatedNormal(1.0, 0.5, low=0.0), stats.truncnorm(-2, math.inf, 1, 0.5).ppf, "TruncatedNormal"),
    "far": (lambda: TruncatedNormal(0.0, 1.0, 6.0, 9.0), stats.truncnorm(6, 9).ppf, "TruncatedNormal"),
}
NUMERICAL = {
    "beta": (lambda: dist.Beta(2.0, 5.0), stats.beta(2, 5).ppf, "Beta"),
    "gamma": (lambda: dist.Gamma(0.7, 3.0), stats.gamma(0.7, scale=1 / 3).ppf, "Gamma"),
    "student": (lambda: dist.StudentT(3.0, 1.0, 2.0), stats.t(3, 1, 2).ppf, "StudentT"),
    "inversegamma": (lambda: pdist.InverseGamma(2.0, 3.0), stats.invgamma(2, scale=3).ppf, "InverseGamma"),
}
ALL_PRIORS = CLOSED | NUMERICAL


def space_of(key):
    return ParameterSpace((Parameter("x", ALL_PRIORS[key][0]()),))


@pytest.mark.parametrize("key", ALL_PRIORS)
class TestEveryPrior:
    def test_quantiles(self, key):
        z = torch.linspace(-3.5, 3.5, 29)[:, None]
        expected = torch.as_tensor(ALL_PRIORS[key][1](stats.norm.cdf(z[:, 0].numpy())))
        torch.testing.assert_close(space_of(key).to_theta(z)["x"], expected, rtol=1e-8, atol=1e-12)

    def test_there_and_back(self, key):
        space = space_of(key)
        z = torch.linspace(-5, 5, 41)[:, None]
        torch.testing.assert_close(space.to_z(space.to_theta(z)), z, rtol=1e-7, atol=1e-7)

    def test_slope_by_finite_difference_and_by_density(self, key):
        space = space_of(key)
        z = torch.linspace(-3, 3, 13)[:, None].requires_grad_()
        (slope,) = torch.autograd.grad(space.to_theta(z)["x"].sum(), z)
        with torch.no_grad():
            h = 1e-5
            central = (space.to_theta(z + h)["x"] - space.to_theta(z - h)["x"]) / (2 * h)
            torch.testing.assert_close(slope[:, 0], central, rtol=1e-6, atol=1e-8)
            torch.testing.assert_close(space.log_slope(z)["x"], slope[:, 0].abs().log(), rtol=1e-6, atol=1e-8)

    def test_forward_mode_equals_reverse(self, key):
        space = space_of(key)
        z = torch.linspace(-2, 2, 5)[:, None]

        def f(z):
            return space.to_theta(z)["x"]

        one = torch.ones_like(z)
        _, tangent = jvp(f, (z,), (one,))
        leaf = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(f(leaf).sum(), leaf)
        torch.testing.assert_close(tangent, slope[:, 0])
        torch.testing.assert_close(jacfwd(f)(z), jacrev(f)(z))
        torch.testing.assert_close(vmap(f)(z), f(z))
        torch.testing.assert_close(vmap(jacfwd(f))(z)[:, 0], slope[:, 0])

    def test_family_and_float32(self, key):
        space = space_of(key)
        assert space.describe()["family"].tolist() == [ALL_PRIORS[key][2]]
        x = space.to_theta(torch.linspace(-4, 4, 9, dtype=torch.float32)[:, None])["x"]
        assert x.dtype == torch.float32
        assert torch.isfinite(x).all()


@pytest.fixture
def space():
    return ParameterSpace(
        (
            Parameter("rate", dist.LogNormal(0.0, 0.5), unit="per day", reason="a study"),
            Parameter("effect", dist.Normal(0.0, 1.0).expand([3]), labels=("North", "Centre", "South")),
            Parameter("mix", dist.Independent(dist.Uniform(torch.zeros(2, 2), torch.ones(2, 2)), 2)),
        )
    )


def test_names_and_shapes(space):
    assert space.dim == 8
    assert space.names[:4] == ("rate", "effect[North]", "effect[Centre]", "effect[South]")
    assert space.names[4:] == ("mix[0,0]", "mix[0,1]", "mix[1,0]", "mix[1,1]")
    theta = space.to_theta(torch.randn(5, 6, 8))
    assert {k: tuple(v.shape) for k, v in theta.items()} == {"rate": (5, 6), "effect": (5, 6, 3), "mix": (5, 6, 2, 2)}
    assert space.to_theta(torch.zeros(8))["rate"].shape == ()


def test_flatten_and_back(space):
    theta = space.to_theta(torch.randn(4, 8))
    flat = space.flatten(theta)
    assert flat.shape == (4, 8)
    for name, value in space.unflatten(flat).items():
        torch.testing.assert_close(value, theta[name])


def test_prior_draws_follow_the_prior(space):
    draws = space.sample_prior(4000, torch.Generator().manual_seed(3))
    assert stats.kstest(draws["rate"].numpy(), stats.lognorm(0.5).cdf).pvalue > 0.01
    second = space.sample_prior(4000, torch.Generator().manual_seed(3))
    assert torch.equal(draws["mix"], second["mix"])


def test_describe_gives_the_quantiles(space):
    row = space.describe().iloc[0]
    assert (row["name"], row["unit"], row["reason"]) == ("rate", "per day", "a study")
    assert row["median"] == pytest.approx(1.0)
    assert row["low"] == pytest.approx(stats.lognorm(0.5).ppf(0.05))
    assert row["high"] == pytest.approx(stats.lognorm(0.5).ppf(0.95))


def test_subset(space):
    assert space.subset(["mix", "rate"]).names[-1] == "rate"


def test_tails_stay_accurate():
    z = torch.tensor([[-9.0], [9.0], [12.0]])
    half = space_of("halfnormal").to_theta(z)["x"]
    near_zero = 2 * stats.norm.cdf(-9) / (2 * stats.norm.pdf(0))  # the density is flat there
    expected = [near_zero, *(2 * stats.halfnorm.isf(stats.norm.sf([9.0, 12.0])))]
    torch.testing.assert_close(half, torch.tensor(expected), rtol=1e-6, atol=0)
    exponential = space_of("exponential").to_theta(z)["x"]
    expected = [2 * stats.norm.cdf(-9), *(-2 * stats.norm.logsf([9.0, 12.0]))]
    torch.testing.assert_close(exponential, torch.tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("prior", "word"),
    [
        (lambda: dist.Poisson(3.0), "Poisson"),
        (lambda: dist.MultivariateNormal(torch.zeros(2), torch.eye(2)), "MultivariateNormal"),
        (
            lambda: dist.TransformedDistribution(dist.Gamma(1.0, 1.0), [dist.ExpTransform()]),
            "TransformedDistribution",
        ),
    ],
)
def test_unknown_priors_are_refused_by_name(prior, word):
    with pytest.raises(ValueError, match=f"prior of 'odd' is a {word}"):
        ParameterSpace((Parameter("odd", prior()),))


def test_misuse_is_refused(space):
    with pytest.raises(ValueError, match=r"expected \[\*batch, 8\]"):
        space.to_theta(torch.zeros(3, 7))
    with pytest.raises(ValueError, match="has no 'effect'"):
        space.to_z({"rate": torch.ones(2)})
    with pytest.raises(ValueError, match="shape"):
        space.flatten({"rate": torch.ones(2), "effect": torch.ones(2, 4), "mix": torch.ones(2, 2, 2)})
    with pytest.raises(ValueError, match="no parameter 'beta'"):
        space.slice_of("beta")
    with pytest.raises(ValueError, match="appears twice"):
        ParameterSpace((Parameter("a", dist.Normal(0.0, 1.0)), Parameter("a", dist.Normal(0.0, 1.0))))
    with pytest.raises(ValueError, match="2 labels"):
        Parameter("a", dist.Normal(0.0, 1.0).expand([3]), labels=("x", "y"))
    with pytest.raises(ValueError, match="at least one"):
        ParameterSpace(())


def test_shares_of_a_dirichlet():
    concentration = torch.tensor([2.0, 0.7, 5.0])
    space = ParameterSpace((Parameter("p", dist.Dirichlet(concentration), labels=("a", "b", "c")),))
    assert (space.dim, space.names) == (2, ("p[a]", "p[b]"))
    theta = space.sample_prior(40_000, torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = dist.Dirichlet(concentration)
    torch.testing.assert_close(theta["p"].mean(0), expected.mean, atol=0.004, rtol=0)
    torch.testing.assert_close(theta["p"].var(0), expected.variance, atol=0.001, rtol=0)
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(space.to_z(space.to_theta(z)), z)
    back = space.unflatten(space.flatten(space.to_theta(z)))
    torch.testing.assert_close(back["p"], space.to_theta(z)["p"])
    jacobian = vmap(jacfwd(lambda u: space.flatten(space.to_theta(u))))(z)
    torch.testing.assert_close(space.log_slope(z)["p"], torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("prior", [dist.Poisson(3.0), dist.Bernoulli(0.3), pdist.Categorical(torch.ones(3))])
def test_discrete_priors_are_refused_in_a_sentence(prior):
    with pytest.raises(ValueError, match="is discrete: only continuous parameters"):
        Parameter("k", prior).map  # noqa: B018


@pytest.mark.parametrize("key", ALL_PRIORS)
def test_inside(key):
    space, prior = space_of(key), ALL_PRIORS[key][0]()
    assert space.inside({"x": space.to_theta(torch.tensor([[-1.0], [2.0]]))["x"]}).all()
    if key not in ("normal", "cauchy", "student", "scaled"):  # the bounds of the last are those of its z
        assert space.inside({"x": torch.tensor([-9.0, math.nan])}).tolist() == [False, False]
    assert torch.isfinite(prior.log_prob(torch.tensor(7.0) if key == "far" else torch.tensor(0.4)))
