import pytest
import torch

import ode

REFERENCE = 14  # age 30-39, two doses


def median_tables():
    parameters = ode.prior_median()
    course = ode.within_host(parameters, ode.archetypes_by_age_and_dose())
    return parameters, course


def test_the_reference_host_sums_to_one():
    _, course = median_tables()
    assert ode.infectiousness(course.viral_load)[REFERENCE].sum().item() == pytest.approx(1.0, abs=1e-9)
    assert ode.shedding(course.viral_load)[REFERENCE].sum().item() == pytest.approx(1.0, abs=1e-9)


def test_the_median_course_is_that_of_omicron():
    _, course = median_tables()
    load = course.viral_load[REFERENCE]
    weights = ode.infectiousness(course.viral_load)[REFERENCE]
    centroid = (weights * torch.arange(1.0, 15.0)).sum()
    assert 3 <= load.argmax().item() + 1 <= 5
    assert 7.5 < load.max() < 8.5
    assert 3.2 < centroid < 3.7
    assert 6 <= (load > 4.0).sum() <= 10


def test_infectiousness_saturates_and_is_half_at_the_midpoint():
    load = torch.tensor([-300.0, 7.0, 300.0])
    low, half, full = ode.infectiousness(load)
    assert low >= 0
    assert low < 1e-100
    assert half / full == pytest.approx(0.5)


def test_protection_is_half_at_the_midpoint_and_has_the_stated_slope():
    parameters = ode.prior_median()
    at = parameters.protection_midpoint.reshape(1).clone().requires_grad_()
    value = ode.susceptibility(at, parameters)
    (slope,) = torch.autograd.grad(value.sum(), at)
    assert value.item() == pytest.approx(0.5)
    assert slope.item() == pytest.approx(-parameters.protection_slope.item() / 4)


def test_doses_protect_as_the_priors_say():
    parameters = ode.prior_median()
    hosts = ode.Archetypes(
        age_midpoint=torch.full((4,), 35.0),
        doses=torch.tensor([0.0, 2.0, 3.0, 3.0]),
        days_since_last_dose=torch.tensor([0.0, 180.0, 21.0, 75.0]),
    )
    titre = ode.within_host(parameters, hosts, days=1).antibody_at_exposure
    protection = 1 - ode.susceptibility(titre, parameters)
    assert titre[0] == 0
    assert protection[0] < 0.05
    assert protection[1].item() == pytest.approx(0.09, abs=0.05)
    assert protection[2].item() == pytest.approx(0.65, abs=0.07)
    assert protection[3].item() == pytest.approx(0.48, abs=0.07)


def test_shedding_keeps_its_total_but_comes_later():
    _, course = median_tables()
    shed = ode.shedding(course.viral_load)[REFERENCE]
    copies = 10 ** course.viral_load[REFERENCE]
    days = torch.arange(1.0, 15.0)
    assert (shed >= 0).all()
    assert (shed * days).sum() / shed.sum() > (copies * days).sum() / copies.sum() + 1
    # a pulse on day 1 leaves 1/4, 3/16, 9/64, ... : mean delay of three days
    pulse = ode.shedding(torch.tensor([[8.0, -400.0, -400.0]]))
    assert (pulse[0, 1] / pulse[0, 0]).item() == pytest.approx(0.75)
