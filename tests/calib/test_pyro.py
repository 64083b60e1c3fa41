import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO

from calib import (
    FitConfig,
    FlowDist,
    Problem,
    fit,
    flow_guide,
    log_likelihood,
    make_flow,
    run_particles,
    space_from_pyro,
)

Y = (1.0, 2.5, 2.0)


def model(y=None):
    """Scalars and a vector, all as events, no plates."""
    a = pyro.sample("a", dist.LogNormal(0.0, 0.5), infer={"unit": "per day", "reason": "a study"})
    b = pyro.sample("b", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    mean = pyro.deterministic("mean", a[..., None] * b + a[..., None], event_dim=1)
    pyro.sample("total", dist.Normal(mean.sum(-1), 2.0), obs=None if y is None else y.sum())
    return pyro.sample("y", dist.Normal(mean, 0.5).to_event(1), obs=y)


def plated_model(y):
    a = pyro.sample("a", dist.LogNormal(0.0, 0.5))
    with pyro.plate("district", 3, dim=-1):
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(a * b, 0.5), obs=y)


@pytest.fixture
def y():
    return torch.tensor(Y)


@pytest.fixture
def space(y):
    return space_from_pyro(model, y, labels={"b": ["North", "Centre", "South"]})


def shaken(space, name="gaussian-nsf"):
    flow = make_flow(name, space.dim, seed=0, init_scale=0.7)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return flow


def test_the_space_of_a_model(space):
    assert space.names == ("a", "b[North]", "b[Centre]", "b[South]")
    assert (space.parameters[0].unit, space.parameters[0].reason) == ("per day", "a study")
    assert space.parameters[1].shape == (3,)


def test_reading_a_model_leaves_the_random_state_alone(y):
    before = torch.random.get_rng_state()
    space_from_pyro(model, y)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_likelihood_of_all_particles_equals_a_loop(space, y):
    theta = space.sample_prior(6, torch.Generator().manual_seed(0))
    together = log_likelihood(model, theta, y)
    assert set(together) == {"y", "total"}
    for p in range(6):
        data = {k: v[p] for k, v in theta.items()}
        trace = poutine.trace(poutine.condition(model, data=data)).get_trace(y)
        trace.compute_log_prob()
        for site in ("y", "total"):
            torch.testing.assert_close(together[site][p], trace.nodes[site]["log_prob"].sum())


def test_likelihood_has_a_gradient_and_respects_masks(space, y):
    z = torch.zeros(2, space.dim, requires_grad=True)
    sum(log_likelihood(model, space.to_theta(z), y).values()).sum().backward()
    assert z.grad.abs().min() > 0

    def masked(y):
        with poutine.mask(mask=False):
            return model(y)

    values = log_likelihood(masked, space.to_theta(z), y)
    assert all((v == 0).all() for v in values.values())


def test_a_model_with_plates(y):
    space = space_from_pyro(plated_model, y)
    assert space.parameters[1].shape == (3,)
    assert space.parameters[1].plates == ("district",)
    theta = space.sample_prior(5, torch.Generator().manual_seed(0))
    found = log_likelihood(plated_model, theta, y, max_plate_nesting=1)["y"]
    expected = dist.Normal(theta["a"][:, None] * theta["b"], 0.5).log_prob(y).sum(-1)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"stands in plate 'district'.*to_event"):
        flow_guide(space, make_flow("gaussian", space.dim, seed=0))


def test_values_of_deterministic_sites(space, y):
    theta = space.sample_prior(4, torch.Generator().manual_seed(0))
    nodes = run_particles(model, theta, y).nodes
    torch.testing.assert_close(nodes["mean"]["value"], theta["a"][:, None] * (theta["b"] + 1))


def test_elbo_equals_pyros_own(space, y):
    flow, particles = shaken(space), 50
    guide = flow_guide(space, flow)
    pyro.clear_param_store()
    elbo = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=0)
    pyro.set_rng_seed(3)
    loss = elbo.differentiable_loss(model, guide, y)
    pyro.set_rng_seed(3)
    z, log_q = flow.sample_with_log_prob(torch.randn(particles, space.dim))
    log_lik = sum(log_likelihood(model, space.to_theta(z), y).values())
    ours = (log_lik + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1) - log_q).mean()
    torch.testing.assert_close(-loss, ours, rtol=1e-10, atol=1e-10)
    weights = list(flow.parameters())
    for p, q in zip(
        torch.autograd.grad(-loss, weights, allow_unused=True),
        torch.autograd.grad(ours, weights, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(p, q, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("parallel", [True, False])
def test_predictive_with_the_guide(space, parallel):
    pyro.set_rng_seed(0)
    draws = Predictive(model, guide=flow_guide(space, shaken(space)), num_samples=20, parallel=parallel)()
    shapes = {k: tuple(v.shape) for k, v in draws.items() if k in ("a", "b", "mean", "y")}
    assert shapes == {"a": (20,), "b": (20, 3), "mean": (20, 3), "y": (20, 3)}
    torch.testing.assert_close(draws["mean"], draws["a"][:, None] * (draws["b"] + 1))


def test_the_guide_draws_what_the_flow_draws(space):
    flow = shaken(space)
    pyro.set_rng_seed(0)
    a = Predictive(model, guide=flow_guide(space, flow), num_samples=4000, parallel=True)()["a"]
    b = space.to_theta(flow.sample(4000, torch.Generator().manual_seed(0)))["a"]
    assert float(a.log().mean()) == pytest.approx(float(b.log().mean()), abs=0.05)
    assert float(a.log().std()) == pytest.approx(float(b.log().std()), abs=0.05)


def test_do_on_a_site(space):
    pyro.set_rng_seed(0)
    acted = pyro.do(model, data={"a": torch.tensor(2.0)})
    draws = Predictive(acted, guide=flow_guide(space, shaken(space)), num_samples=10, parallel=True)()
    torch.testing.assert_close(draws["mean"], 2 * (draws["b"] + 1))


def test_a_pyro_model_is_fitted(space, y):
    def total(theta, seed, gradient):
        return sum(log_likelihood(model, theta, y).values())

    result = fit(Problem.from_space(space, total), make_flow("gaussian", space.dim, seed=0), FitConfig(max_steps=300))
    guide = flow_guide(space, result.flow)
    pyro.set_rng_seed(0)
    mean = Predictive(model, guide=guide, num_samples=500, parallel=True)()["mean"].mean(0)
    torch.testing.assert_close(mean, y, rtol=0, atol=0.4)


def test_flow_dist_shares_one_pass_and_agrees_with_log_prob(space):
    flow = shaken(space, "gaussian")
    d = FlowDist(flow).expand([7])
    x = d.rsample()
    assert x.shape == (7, space.dim)
    assert d.log_prob(x) is d._last[1]
    torch.testing.assert_close(d.log_prob(x.clone()), d.log_prob(x))


def test_dependent_priors_are_refused():
    def dependent(y=None):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(a, 1.0))
        pyro.sample("y", dist.Normal(b, 1.0), obs=torch.tensor(0.0))

    with pytest.raises(ValueError, match="prior of site 'b' depends on the value of another site"):
        space_from_pyro(dependent)

    def branching():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        scale = 1.0 if a > 0 else 2.0  # no gradient tells of this
        pyro.sample("b", dist.Normal(0.0, scale))

    refused = 0
    for seed in range(6):
        try:
            space_from_pyro(branching, seed=seed)
        except ValueError:
            refused += 1
    assert refused > 0


def test_misuse_is_refused(space, y):
    theta = space.sample_prior(4, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="leaves out 'b'"):
        log_likelihood(model, {"a": theta["a"]}, y)
    with pytest.raises(ValueError, match="'c', which is no site"):
        log_likelihood(model, theta | {"c": theta["a"]}, y)
    with pytest.raises(ValueError, match="one leading particle axis"):
        log_likelihood(model, theta | {"a": theta["a"][:2]}, y)
    with pytest.raises(ValueError, match=r"theta\['a'\] has shape"):
        log_likelihood(model, theta | {"a": torch.ones(4, 2)}, y)
    with pytest.raises(ValueError, match=r"leaves out|no observed site"):
        log_likelihood(model, theta)
    with pytest.raises(ValueError, match="no unobserved sample site"):
        space_from_pyro(lambda: pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0)))
    with pytest.raises(ValueError, match="'wrong' was described"):
        space_from_pyro(model, y, labels={"wrong": ["x"]})
    with pytest.raises(ValueError, match="a VonMises, which has no map"):
        space_from_pyro(lambda: pyro.sample("t", dist.VonMises(0.0, 1.0)))
    with pytest.raises(ValueError, match="3 dimensions and the space 4"):
        flow_guide(space, make_flow("gaussian", 3, seed=0))
