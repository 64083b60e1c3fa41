import pytest
import torch
from torch.func import jacfwd

import ode
from ode._severity import REFERENCE_PEAK

SHIFT, LOAD = (prior.location for prior in ode.SEVERITY_PRIORS)


def hosts(doses, days, ages=None, infections=None, since=None):
    like = torch.as_tensor(doses)
    ages = torch.full_like(like, 35.0) if ages is None else torch.as_tensor(ages)
    past = (
        {}
        if infections is None
        else {"infections": torch.as_tensor(infections), "days_since_infection": torch.as_tensor(since)}
    )
    return ode.Archetypes(ages, like, torch.as_tensor(days), **past)


def test_the_reference_host_has_severity_one():
    parameters = ode.prior_median()
    course = ode.within_host(parameters, hosts([0.0], [0.0]))
    assert course.viral_load.max().item() == pytest.approx(REFERENCE_PEAK, abs=1e-9)
    assert ode.severity(course, parameters).item() == pytest.approx(1.0)


def test_severity_in_closed_form():
    parameters = ode.prior_draws(3, torch.Generator().manual_seed(0))
    course = ode.within_host(parameters, hosts([2.0, 3.0], [120.0, 30.0]))
    s, m = parameters.protection_slope[:, None], parameters.protection_midpoint[:, None]
    titre = course.antibody_at_exposure

    def ratio(a):
        return (1 + torch.exp(-s * (m - a))) / (1 + torch.exp(-s * (m + SHIFT - a)))

    expected = (
        ratio(titre)
        / ratio(torch.zeros_like(titre))
        * torch.exp(LOAD * (course.viral_load.max(-1).values - REFERENCE_PEAK))
    )
    torch.testing.assert_close(ode.severity(course, parameters), expected)


def test_doses_protect_from_admission_more_than_from_infection():
    # UKHSA, 31 December 2021: 88 % after a third dose, 72 % and 52 % (25 weeks) after two; 68 % (42-82) given infection
    parameters = ode.prior_median()
    course = ode.within_host(parameters, hosts([0.0, 2.0, 3.0], [0.0, 120.0, 30.0]))
    severe = ode.severity(course, parameters)
    taken = ode.susceptibility(course.antibody_at_exposure, parameters)
    protection = 1 - (severe * taken) / (severe * taken)[0]
    assert 0.45 < protection[1] < 0.72
    assert 0.85 < protection[2] < 0.96
    assert 0.42 < 1 - severe[2] < 0.90


def test_severity_grows_with_the_load_alone_as_stated():
    parameters = ode.prior_median()
    course = ode.within_host(parameters, hosts([0.0], [0.0]))
    higher = ode.WithinHost(course.viral_load + 1.0, course.antibody, course.antibody_at_exposure, course.finite)
    ratio = ode.severity(higher, parameters) / ode.severity(course, parameters)
    assert ratio.item() == pytest.approx(1.07)


def test_gradients_of_severity_equal_finite_differences():
    def value(theta):
        parameters = ode.WithinHostParameters(**{p.name: p.quantile(theta[i]) for i, p in enumerate(ode.PRIORS)})
        course = ode.within_host(parameters, hosts([0.0, 2.0, 3.0], [0.0, 120.0, 30.0]))
        return ode.severity(course, parameters, SHIFT + 0.3 * theta[7], LOAD + 0.02 * theta[8])

    theta = torch.randn(9, generator=torch.Generator().manual_seed(5))
    forward = jacfwd(value)(theta)
    h = 1e-5
    difference = torch.stack([(value(theta + h * e) - value(theta - h * e)) / (2 * h) for e in torch.eye(9)], -1)
    torch.testing.assert_close(forward, difference, rtol=1e-6, atol=1e-8)
    leaf = theta.clone().requires_grad_()
    (reverse,) = torch.autograd.grad(value(leaf).sum(), leaf)
    torch.testing.assert_close(reverse, forward.sum(0))


def test_past_infection_protects_as_the_source_says():
    # Bobrovitz et al. 2023: 65.2 % (53-76) three months after infection, 69.0 % (59-78) with primary vaccination too
    parameters = ode.prior_median()
    kinds = hosts([0.0, 2.0], [0.0, 120.0], infections=[1.0, 1.0], since=[90.0, 90.0])
    protection = 1 - ode.susceptibility(ode.within_host(parameters, kinds, days=1).antibody_at_exposure, parameters)
    assert protection[0].item() == pytest.approx(0.652, abs=0.02)
    assert protection[1].item() == pytest.approx(0.690, abs=0.02)


def test_no_past_infection_is_the_same_as_none_given():
    parameters = ode.prior_draws(2, torch.Generator().manual_seed(1))
    without = ode.within_host(parameters, hosts([0.0, 2.0], [0.0, 60.0]))
    zero = ode.within_host(parameters, hosts([0.0, 2.0], [0.0, 60.0], infections=[0.0, 0.0], since=[10.0, 10.0]))
    assert torch.equal(without.viral_load, zero.viral_load)


def test_infections_need_a_time():
    with pytest.raises(ValueError, match="give both or neither"):
        ode.Archetypes(torch.ones(1), torch.ones(1), torch.ones(1), infections=torch.ones(1))


def test_hosts_that_differ_by_particle_equal_one_solve_each():
    parameters = ode.prior_draws(2, torch.Generator().manual_seed(2))
    doses = torch.tensor([[0.0, 2.0, 3.0], [1.0, 0.0, 0.0]])
    both = ode.within_host(parameters, hosts(doses, torch.full_like(doses, 40.0)))
    assert both.viral_load.shape == (2, 3, 14)
    for p in range(2):
        one = ode.WithinHostParameters(**{n: getattr(parameters, n)[p] for n in parameters.__dataclass_fields__})
        alone = ode.within_host(one, hosts(doses[p], torch.full((3,), 40.0)))
        torch.testing.assert_close(both.viral_load[p], alone.viral_load)


def test_antibody_wanes_after_an_infection_and_susceptibility_comes_back():
    parameters = ode.prior_median()
    course = ode.within_host(parameters, hosts([0.0, 3.0], [0.0, 30.0]))
    last = course.antibody[..., -1]
    half = torch.log(torch.tensor(2.0)) / parameters.waning_rate
    torch.testing.assert_close(10 ** ode.waned(last, half, parameters) - 1, (10**last - 1) / 2)
    torch.testing.assert_close(ode.waned(last, 0.0, parameters), last)
    taken = torch.stack([ode.susceptibility(ode.waned(last, d, parameters), parameters) for d in (14.0, 180.0, 720.0)])
    assert (taken.diff(dim=0) > 0).all()
    assert taken[0].max() < 0.05
    assert taken[1].max() < 0.16
    assert taken[2].min() > 0.5
