"""Functions before a simulator: closed forms, derivatives, and how many simulations they cost."""

import doctest

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, Poisson

import calib.composition._block
import calib.composition._compose
import calib.composition._linear_families
from calib import BringsJacobian
from calib.composition import (
    Block,
    compose,
    fit_function,
    gaussian_process,
    gru,
    learnt_sd,
    leave_one_region_out,
    linear,
    mlp,
    module,
    neural_cde,
    random_walk,
    region_effect,
)

REGIONS, KNOTS, OUTPUTS = 3, 6, 10
RNG = torch.Generator().manual_seed(3)
DESIGN = torch.randn(OUTPUTS, REGIONS * KNOTS, generator=RNG, dtype=torch.float64)
COVARIATES = torch.randn(REGIONS, KNOTS, 2, generator=RNG, dtype=torch.float64)
DATA = torch.randn(OUTPUTS, generator=RNG, dtype=torch.float64)
SD = 0.7
FAMILIES = {
    "random walk": lambda: random_walk(0.3),
    "own walks": lambda: random_walk(0.3, over="each", start=1, reversion=0.2),
    "gaussian process": lambda: gaussian_process(0.5, length=2.0),
    "linear": linear,
    "region effect": lambda: region_effect(0.4),
    "mlp": lambda: mlp(4, embedding=2),
    "gru": lambda: gru(3),
    "neural cde": lambda: neural_cde(2),
    "sum": lambda: gru(3) + gaussian_process(learnt_sd(0.3), length=2.0) + region_effect(learnt_sd(0.3)),
}


def simulate(theta, seed):
    return theta["drift"].flatten(1) @ DESIGN.mT


def normal(out):
    return Independent(Normal(out, SD), 1)


def block(family, covariates=COVARIATES):
    return Block("drift", (REGIONS, KNOTS), family, covariates)


@pytest.mark.parametrize(
    "page", [calib.composition._block, calib.composition._compose, calib.composition._linear_families]
)
def test_examples(page):
    assert doctest.testmod(page).failed == 0


def test_a_linear_network_before_a_linear_simulator_is_ridge_regression():
    composed = compose(simulate, None, block(linear()))
    found = fit_function(composed, DATA, normal)
    x = composed.blocks[0].value
    features = torch.stack([x({"drift_weights": e}).flatten() for e in torch.eye(2, dtype=torch.float64)], 1)
    design, prior_sd = DESIGN @ features, 2**-0.5
    precision = torch.eye(2, dtype=torch.float64) / prior_sd**2 + design.mT @ design / SD**2
    weights = torch.linalg.solve(precision, design.mT @ DATA / SD**2)
    torch.testing.assert_close(found.mean("drift").flatten(), features @ weights)
    expected = features @ torch.linalg.inv(precision) @ features.mT
    torch.testing.assert_close(found.covariance, expected, atol=1e-10, rtol=1e-8)
    marginal = design @ design.mT * prior_sd**2 + SD**2 * torch.eye(OUTPUTS, dtype=torch.float64)
    evidence = MultivariateNormal(torch.zeros(OUTPUTS, dtype=torch.float64), marginal).log_prob(DATA)
    assert found.log_evidence == pytest.approx(float(evidence))
    assert found.converged


def test_no_covariates_give_the_random_effects_model():
    """Effects of regions around their prior mean: precision-weighted, each by itself."""
    tau, per_region = 0.6, 4
    composed = compose(
        lambda theta, seed: theta["level"][..., :1].expand(-1, REGIONS, per_region).flatten(1),
        None,
        Block("level", (REGIONS, KNOTS), region_effect(tau)),
    )
    data = torch.randn(REGIONS, per_region, generator=RNG, dtype=torch.float64)
    found = fit_function(composed, data.flatten(), normal)
    shrink = tau**2 / (tau**2 + SD**2 / per_region)
    torch.testing.assert_close(found.mean("level")[:, 0], shrink * data.mean(1))
    sd = (1 / (1 / tau**2 + per_region / SD**2)) ** 0.5
    torch.testing.assert_close(found.sd("level"), torch.full((REGIONS, KNOTS), sd, dtype=torch.float64))


def test_the_gaussian_process_in_hilbert_space_tends_to_the_exact_one():
    length, sd, errors = 2.5, 0.8, []
    knot = torch.arange(12, dtype=torch.float64)
    exact = sd**2 * torch.exp(-0.5 * ((knot[:, None] - knot) / length) ** 2)
    for terms, boundary in ((6, 1.2), (15, 1.5), (60, 3.0)):
        family = gaussian_process(sd, length=length, terms=terms, boundary=boundary)
        own = Block("f", (12,), family)
        basis = torch.stack([own.value({"f_terms": e}) for e in torch.eye(terms, dtype=torch.float64)], 1)
        errors.append(float((basis @ basis.mT - exact).abs().max()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


def test_a_random_walk_has_the_covariance_of_one():
    own = Block("f", (5,), random_walk(0.5))
    found = fit_function(
        compose(lambda theta, seed: theta["f"], None, own),
        torch.full((5,), 0.0),
        lambda out: Independent(Normal(out, 1e6), 1),
    )
    steps = torch.arange(1.0, 6.0, dtype=torch.float64)
    torch.testing.assert_close(found.covariance, 0.25 * torch.minimum(steps[:, None], steps), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_derivatives_in_the_weights_are_those_through_the_simulator(name):
    """By the chain rule from the Jacobian in physical parameters, and by autograd through everything."""

    def curved(theta, seed):
        return torch.exp(0.3 * theta["drift"].flatten(1) @ DESIGN.mT) * theta["scale"][:, None]

    def with_jacobian(theta, seed):
        value = curved(theta, seed).detach()
        by_drift = (0.3 * value[..., None] * DESIGN).unflatten(-1, (REGIONS, KNOTS))
        return value, {"scale": value / theta["scale"][:, None], "drift": by_drift}

    prior = {"scale": learnt_sd(1.0)}
    rows = []
    for model in (curved, BringsJacobian(with_jacobian)):
        composed = compose(model, prior, block(FAMILIES[name]()))
        z = torch.randn(2, composed.space.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        theta = composed.space.to_theta(z.requires_grad_())
        rows.append(torch.autograd.grad(composed(theta, 0).square().sum(), z)[0])
    torch.testing.assert_close(rows[0], rows[1], rtol=1e-10, atol=1e-10)
    point = composed.physical(z[0]).detach()
    value, slope = composed.jacobian(point, 0)
    plain = compose(curved, prior, block(FAMILIES[name]()))
    for other in (plain.jacobian(point, 0), _by_differences(curved, prior, FAMILIES[name](), point)):
        torch.testing.assert_close(value, other[0])
        torch.testing.assert_close(slope, other[1], rtol=1e-4, atol=1e-4)


def _by_differences(model, prior, family, point):
    def without_graph(theta, seed):
        return model({n: v.detach() for n, v in theta.items()}, seed).numpy()

    composed = compose(without_graph, prior, block(family))
    found = composed.jacobian(point, 0)
    assert composed.runs == 2 * composed.coordinates + 1
    return found


def test_simulations_do_not_grow_with_the_network():
    counts = {}
    for hidden in (2, 2500):
        calls = []

        def with_jacobian(theta, seed, calls=calls):
            calls.append(len(theta["drift"]))
            value = simulate(theta, seed)
            return value, {"drift": DESIGN.unflatten(-1, (REGIONS, KNOTS)).expand(len(value), -1, -1, -1)}

        composed = compose(BringsJacobian(with_jacobian), None, block(mlp(hidden)))
        # data so weak that every step is taken whole: how often a step is shortened depends on the data, not on the network
        found = fit_function(composed, DATA, lambda out: Independent(Normal(out, 10.0), 1), steps=2, tolerance=0.0)
        counts[composed.space.dim] = (sum(calls), found.runs)
    small, large = sorted(counts)
    assert small <= 10
    assert large == 10_000
    assert counts[small] == counts[large]
    assert counts[small][0] == counts[small][1] <= 10


def test_regions_in_another_order_have_the_same_posterior():
    order = torch.tensor([2, 0, 1])
    family = gru(3) + region_effect(0.5) + random_walk(0.2, over="each")
    data = torch.randn(REGIONS, KNOTS, generator=RNG, dtype=torch.float64)

    def identity(theta, seed):
        return theta["drift"].flatten(1)

    one = compose(identity, None, block(family))
    other = compose(identity, None, block(family, COVARIATES[order]))
    start = torch.randn(one.space.dim, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    theta = one.space.to_theta(start)
    moved = {n: v[order] if n.endswith(("effect", "steps")) else v for n, v in theta.items()}
    first = fit_function(one, data.flatten(), normal, start=start, steps=4)
    second = fit_function(other, data[order].flatten(), normal, start=other.space.to_z(moved), steps=4)
    torch.testing.assert_close(first.mean("drift")[order], second.mean("drift"), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(first.sd("drift")[order], second.sd("drift"), rtol=1e-6, atol=1e-8)
    assert first.log_evidence == pytest.approx(second.log_evidence, abs=1e-6)


def test_evidence_finds_the_family_that_made_the_data():
    generator = torch.Generator().manual_seed(5)
    knots = 40
    x = torch.randn(1, knots, 1, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(2, knots, generator=generator, dtype=torch.float64)
    walk = (0.5 * torch.randn(knots, generator=generator, dtype=torch.float64)).cumsum(0)
    made = {"linear": 1.2 * x[0, :, 0] + noise[0], "walk": walk + noise[1]}
    for truth, data in made.items():
        evidence = {}
        for name, family in {"linear": linear(), "walk": random_walk(0.5)}.items():
            composed = compose(lambda theta, seed: theta["f"].flatten(1), None, Block("f", (1, knots), family, x))
            evidence[name] = fit_function(composed, data, lambda out: Independent(Normal(out, 0.3), 1)).log_evidence
        assert max(evidence, key=evidence.get) == truth


def test_counts_of_a_network_reach_the_mode():
    """Where it stops the gradient of the log posterior in the weights is zero."""
    composed = compose(
        lambda theta, seed: torch.exp(1.0 + theta["drift"].flatten(1)),
        None,
        block(mlp(3) + gaussian_process(0.5, length=2.0)),
    )
    data = torch.poisson(torch.full((REGIONS * KNOTS,), 4.0), generator=torch.Generator().manual_seed(2))

    def counts(out):
        return Independent(Poisson(out), 1)

    found = fit_function(composed, data, counts, steps=300, tolerance=1e-12)
    z = found.z.clone().requires_grad_()
    out = composed(composed.space.to_theta(z[None]), 0)
    (slope,) = torch.autograd.grad(counts(out).log_prob(data).sum() - 0.5 * z.square().sum(), z)
    assert float(slope.abs().max()) < 1e-3
    given = fit_function(composed, data, counts, information=lambda out: 1 / out, steps=60, tolerance=1e-9)
    torch.testing.assert_close(given.mean("drift"), found.mean("drift"), atol=1e-3, rtol=1e-3)
    draws = found.draws(4000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.std(0), found.covariance.diagonal().sqrt(), rtol=0.06, atol=0.0)


def test_a_region_left_out_has_the_mean_and_spread_that_the_others_give():
    """Common level N(0, 1), effects N(0, tau^2): the left-out region is normal around the shrunken mean of the others."""
    tau, regions = 0.5, ("a", "b", "c")
    own = Block("level", (3, 1), random_walk(1.0) + region_effect(tau))
    composed = compose(lambda theta, seed: theta["level"].flatten(1), None, own)
    data = torch.tensor([1.0, 1.6, -0.2], dtype=torch.float64)
    found = leave_one_region_out(composed, data, normal, regions, torch.arange(3), draws=4000)
    variance = tau**2 + SD**2
    known = 2 / variance
    for i, one in enumerate(found):
        mean = known / (1 + known) * (data.sum() - data[i]) / 2
        sd = (1 / (1 + known) + tau**2) ** 0.5
        assert float(one.posterior.mean("level")[i, 0]) == pytest.approx(float(mean), abs=1e-6)
        assert float(one.posterior.sd("level")[i, 0]) == pytest.approx(sd, abs=1e-6)
        expected = Normal(mean, (sd**2 + SD**2) ** 0.5).log_prob(data[i])
        assert one.log_score == pytest.approx(float(expected), abs=0.05)


def test_bad_input_is_refused_in_one_sentence():
    wrong = {
        "cover 4 knots, expected 6": lambda: block(linear(), COVARIATES[:, :4]),
        "of 2 regions, expected 3": lambda: block(linear(), COVARIATES[:2]),
        "is 1 at every knot": lambda: block(linear(), torch.ones(REGIONS, KNOTS, 1)),
        "is not finite at 1 of 18 knots": lambda: block(linear(), _with_hole()),
        "the block has none": lambda: block(gru(), None),
        r"gave an output of shape \(3, 6, 2\)": lambda: block(module(lambda n: torch.nn.Linear(n, 2))),
        "1 region was given": lambda: leave_one_region_out(
            compose(simulate, None, block(linear())), DATA, normal, ("a",), torch.zeros(OUTPUTS)
        ),
        "is given twice": lambda: compose(simulate, {"drift": Normal(0.0, 1.0)}, block(linear())),
        "no block was given": lambda: compose(simulate, None, ()),
        "expected more than 0": lambda: block(random_walk(0.0)),
        "has shape": lambda: Block("drift", (0, 3), random_walk(1.0)),
    }
    for message, make in wrong.items():
        with pytest.raises(ValueError, match=message):
            make()


def _with_hole():
    holed = COVARIATES.clone()
    holed[1, 2, 0] = torch.nan
    return holed
