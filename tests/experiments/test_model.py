"""The Pyro model of the study on a tiny population: handlers, gradients, failures, streams."""

import pyro
import pytest
import torch
from chirho.counterfactual.handlers import MultiWorldCounterfactual
from chirho.indexed.ops import IndexSet, gather
from chirho.interventional.handlers import do
from pyro import poutine
from pyro.infer import Predictive

from epi.data import Data
from epi.inference.likelihood import Inference
from epi.model import model
from tests.experiments import nz
from tests.experiments.conftest import make_simulator

SEED = 11
PLACES = {name: len(places) for name, places in nz.PLACES.items()}
SCHOOL_AGES = slice(0, 2)


@pytest.fixture(scope="module")
def fit_data(tiny):
    return tiny.data.until(tiny.short.weeks)


def near_the_median(tiny, particles, sd=0.3):
    return sd * torch.randn(particles, tiny.space.dim, generator=torch.Generator().manual_seed(8))


def trace_of(tiny, seed=SEED):
    torch.manual_seed(3)
    return poutine.trace(model).get_trace(nz.study, tiny.short.bind(seed))


def test_every_site_is_a_parameter_once_with_unit_and_reason(tiny):
    sites = {
        name: site
        for name, site in trace_of(tiny).nodes.items()
        if site["type"] == "sample" and name not in (*nz.STREAMS, "infections_district")
    }
    parameters = tiny.space.parameters
    assert [p.name for p in parameters] == list(sites)
    assert len({p.name for p in parameters}) == len(parameters)
    assert len(set(tiny.space.names)) == tiny.space.dim
    for p in parameters:
        assert p.unit, p.name
        assert len(p.reason) > 20, p.name
        assert p.shape == tuple(sites[p.name]["value"].shape)
    assert tiny.space.dim > 60


def test_jacobian_of_a_simulator_in_single_precision(tiny, epidemic_data):
    single = make_simulator(epidemic_data, tiny.population, tiny.space, nz.FORECAST_DATE, torch.float32)
    z = near_the_median(tiny, 2)
    for found, wanted in zip(single.jacobian(z, SEED), tiny.short.jacobian(z, SEED), strict=True):
        assert found.dtype == z.dtype
        # a contact that falls on the border between two people may go to the other: a few entries differ
        close = torch.isclose(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
        assert close.double().mean() > 0.99


def test_predictive_over_the_prior_in_parallel(tiny):
    torch.manual_seed(0)
    draws = Predictive(model, num_samples=4, parallel=True)(nz.study, tiny.short.bind(SEED))
    for p in tiny.space.parameters:
        assert draws[p.name].shape == (4, *p.shape), p.name
    for stream, places in PLACES.items():
        assert draws[stream].shape == (4, tiny.short.weeks, places)
        assert bool((draws[stream] >= 0).all())
    assert len({float(x) for x in draws["cases_district"].sum((1, 2))}) == 4


def test_predictive_from_given_draws_agrees_with_the_simulator(tiny):
    theta = tiny.space.to_theta(near_the_median(tiny, 3))
    found = Predictive(model, posterior_samples=theta, parallel=True)(nz.study, tiny.short.bind(SEED))
    direct = tiny.short.bind(SEED)(theta)
    torch.testing.assert_close(found["infections_district"], direct["infections_district"])


def cases_by_age(tiny, intervened, particles=8):
    """Expected cases `[age]` over all weeks, particles and their luck, which is the same at each call."""
    with pyro.plate("particles", particles):
        trace = poutine.trace(intervened).get_trace(nz.study, tiny.short.bind(SEED))
    return trace.nodes["cases_age"]["fn"].base_dist.mean.sum((0, 1))


@pytest.mark.parametrize("intervene", [poutine.do, pyro.do])
def test_closing_schools_spares_school_ages_most(tiny, intervene):
    given = pyro.condition(model, data=tiny.space.to_theta(near_the_median(tiny, 8)))
    closed = intervene(given, data={"transmission_school": torch.zeros(8)})
    without, with_schools = cases_by_age(tiny, closed), cases_by_age(tiny, given)
    young, old = (float(without[ages].sum() / with_schools[ages].sum()) for ages in (SCHOOL_AGES, slice(2, None)))
    assert young < 0.7
    assert young < old < 1.0


@pytest.mark.parametrize("site", ["transmission_household", "aversion"])
def test_one_value_intervenes_in_all_particles(tiny, site):
    theta = tiny.space.to_theta(near_the_median(tiny, 8))
    given = pyro.condition(model, data=theta)
    value = 0.5 * theta[site][0]
    one, each = (pyro.do(given, data={site: x}) for x in (value, value.expand_as(theta[site])))
    torch.testing.assert_close(cases_by_age(tiny, one), cases_by_age(tiny, each))


def test_worlds_of_chirho_are_the_separate_runs(tiny):
    """Schools open and closed in one call, with the same luck."""
    theta = {name: x[0] for name, x in tiny.space.to_theta(near_the_median(tiny, 1)).items()}
    simulate = tiny.short.bind(SEED, torch.tensor(0))
    closed = {"transmission_school": torch.tensor(0.0)}
    given = pyro.condition(model, data=theta)
    apart = [poutine.trace(m).get_trace(nz.study, simulate) for m in (given, poutine.do(given, data=closed))]
    with MultiWorldCounterfactual(first_available_dim=-1), do(actions=closed):
        together = poutine.trace(given).get_trace(nz.study, simulate).nodes["infections_district"]["value"]
        worlds = [
            gather(together, IndexSet(transmission_school={i}), event_dim=2).reshape(tiny.short.weeks, 20)
            for i in (0, 1)
        ]
    for world, run in zip(worlds, apart, strict=True):
        torch.testing.assert_close(world, run.nodes["infections_district"]["value"])
    assert float(worlds[1].sum()) < float(worlds[0].sum())


def test_worlds_of_chirho_for_several_draws(tiny):
    theta = tiny.space.to_theta(near_the_median(tiny, 3))
    simulate = tiny.short.bind(SEED, torch.arange(3))

    def plated():
        with pyro.plate("draws", 3, dim=-1):
            model(nz.study, simulate)

    given = pyro.condition(plated, data=theta)
    with MultiWorldCounterfactual(first_available_dim=-2), do(actions={"transmission_school": lambda x: 0.5 * x}):
        together = poutine.trace(given).get_trace().nodes["infections_district"]["value"]
        found = [
            gather(together, IndexSet(transmission_school={i}), event_dim=2).reshape(3, tiny.short.weeks, 20)
            for i in (0, 1)
        ]
    for factor, world in zip((1.0, 0.5), found, strict=True):
        direct = simulate(theta | {"transmission_school": factor * theta["transmission_school"]})
        torch.testing.assert_close(world, direct["infections_district"])


def test_reverse_and_forward_gradients_are_one(tiny, fit_data):
    inference = Inference(tiny.short, fit_data)
    values, slopes = [], []
    for path in ("reverse", "forward"):
        z = near_the_median(tiny, 2).requires_grad_()
        value = inference.log_likelihood(z, SEED, path)
        values.append(value.detach())
        slopes.append(torch.autograd.grad(value.sum(), z)[0])
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=0)
    assert float((slopes[0] - slopes[1]).norm() / slopes[0].norm()) < 1e-8
    worst = ((slopes[0] - slopes[1]).abs() / slopes[0].abs().amax(1, keepdim=True)).max()
    assert float(worst) < 1e-8
    # all but the drift beyond the fitted weeks and districts that the few agents leave untouched
    assert int((slopes[0] != 0).sum()) > 0.75 * slopes[0].numel()


def test_gradients_of_smooth_parameters_are_finite_differences(tiny, fit_data):
    """Parameters of the reports leave every infection where it was: there the likelihood is smooth."""
    inference = Inference(tiny.short, fit_data)
    z = near_the_median(tiny, 1).requires_grad_()
    (slope,) = torch.autograd.grad(inference.log_likelihood(z, SEED, "reverse").sum(), z)
    names = ["ascertainment_pcr", "ascertainment_rat", "severity_level", "severity_age"]
    names += ["severity_shift", "severity_load", "fatality_level", "fatality_age", "hospital_days", "border_ratio"]
    names += [
        "wastewater_level",
        "wastewater_area_effect",
        "cluster_size",
        *{nz.study.dispersion(name) for name in nz.STREAMS},
    ]
    for name in names:
        at = tiny.space.slice_of(name).start
        step = torch.zeros(1, tiny.space.dim)
        step[0, at] = 1e-5
        with torch.no_grad():
            up, down = (inference.log_likelihood(z + s * step, SEED, "reverse") for s in (1, -1))
        torch.testing.assert_close(slope[0, at], (up - down)[0] / 2e-5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_a_particle_that_fails_fails_alone(tiny, bad):
    theta = tiny.space.to_theta(near_the_median(tiny, 3))
    whole = tiny.short.bind(SEED)(theta)
    broken = theta["transmission_household"].clone()
    broken[1] = bad
    part = tiny.short.bind(SEED)(theta | {"transmission_household": broken})
    for name in nz.PLACES:
        found, wanted = part[name], whole[name]
        assert bool(found[1].isnan().all())
        assert torch.equal(found[[0, 2]], wanted[[0, 2]])


def test_a_failed_particle_leaves_the_gradients_of_the_others(tiny, fit_data):
    inference = Inference(tiny.short, fit_data)
    start = near_the_median(tiny, 3)
    broken = start.clone()
    broken[1, tiny.space.slice_of("transmission_household").start] = 1e4  # exp(3000) is not finite
    for path in ("reverse", "forward"):
        slopes = []
        for point in (start, broken):
            z = point.clone().requires_grad_()
            value = inference.log_likelihood(z, SEED, path)
            good = value.isfinite()
            slopes.append(torch.autograd.grad(value[good].sum(), z)[0])
        assert good.tolist() == [True, False, True]
        torch.testing.assert_close(slopes[1][[0, 2]], slopes[0][[0, 2]], rtol=1e-12, atol=1e-12)


def test_streams_do_not_hang_on_the_batch(tiny):
    theta = tiny.space.to_theta(near_the_median(tiny, 4))
    together = tiny.short.layout.flat(tiny.short.bind(SEED)(theta))
    for p in (0, 3):
        alone = tiny.short.bind(SEED, torch.tensor([p]))({name: x[p : p + 1] for name, x in theta.items()})
        torch.testing.assert_close(tiny.short.layout.flat(alone)[0], together[p], rtol=1e-12, atol=0)
    same = {name: x[:1].expand(2, *x.shape[1:]) for name, x in theta.items()}
    luck = tiny.short.layout.flat(tiny.short.bind(SEED, torch.tensor([5, 5]))(same))
    torch.testing.assert_close(luck[0], luck[1], rtol=1e-12, atol=0)
    assert not torch.equal(*tiny.short.layout.flat(tiny.short.bind(SEED)(same)))
    assert not torch.equal(tiny.short.layout.flat(tiny.short.bind(SEED + 1)(theta)), together)


def test_the_likelihood_in_batches_is_the_likelihood(tiny, fit_data):
    z = near_the_median(tiny, 5)
    whole = Inference(tiny.short, fit_data, batch=8).log_likelihood(z, SEED, "reverse")
    parts = Inference(tiny.short, fit_data, batch=2).log_likelihood(z, SEED, "reverse")
    torch.testing.assert_close(whole, parts, rtol=1e-13, atol=0)


def test_masked_week_does_not_enter_the_likelihood(tiny, fit_data):
    z = near_the_median(tiny, 1)
    masked = int((~fit_data.fitted).nonzero()[0])

    def likelihood(week):
        counts = {name: x.clone() for name, x in fit_data.counts.items()}
        counts["cases_age"][week] += 100
        return Inference(tiny.short, Data(counts, fit_data.in_likelihood, fit_data.fitted)).log_likelihood(
            z, SEED, "reverse"
        )

    before = Inference(tiny.short, fit_data).log_likelihood(z, SEED, "reverse")
    assert torch.equal(likelihood(masked), before)
    assert not torch.equal(likelihood(masked + 1), before)
