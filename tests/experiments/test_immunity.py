"""How protected people are as the wave goes on: closed forms, the register, reinfection."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

import ode
from epi.model.immunity import campaign_doses_by, kinds_of_host, make_campaign, periods
from epi.model.transmission import host_tables, make_rates, with_kinds
from epi.study import Vaccination
from sim import PERIOD, epidemic
from tests.experiments import nz

TWO = torch.arange(8) * 4 + 2
VACCINATION = nz.study.need(Vaccination, "The test")
COUNTED, TABLE = VACCINATION.reference_day, VACCINATION.counted_on
KNOWN = VACCINATION.campaign.known_until
WAVE, INFECTIOUS_DAYS = nz.study.disease.reference_day, nz.study.disease.days


@pytest.fixture
def host(theta):
    return ode.WithinHostParameters.from_mapping(theta)


def aged(context, days):
    a = context.archetypes
    return ode.Archetypes(a.age_midpoint, a.doses, (a.days_since_last_dose + days).clamp_min(0.0))


def middle(period):
    return period * PERIOD + PERIOD / 2 - nz.CALENDAR.day_of(COUNTED)


def test_without_a_campaign_each_kind_wanes_by_itself(theta, context, host):
    none = dataclasses.replace(context.campaign, share=0 * context.campaign.share)
    tables = host_tables(theta, with_kinds(context, context.archetypes, none))
    assert tables.waning.shape == (3, 32, periods(context.days))
    course = ode.within_host(host, aged(context, 0.0), days=INFECTIOUS_DAYS)
    for period in (0, 3, 9):
        kinds = aged(context, middle(period))
        titre = ode.antibody_titre(host, kinds)
        expected = ode.susceptibility(titre, host) / tables.susceptibility
        torch.testing.assert_close(tables.waning[..., period], expected)
        later = ode.WithinHost(course.viral_load, course.antibody, titre, course.finite)
        severe = ode.severity(later, host, theta["severity_shift"], theta["severity_load"])
        torch.testing.assert_close(tables.severity[..., period], severe)
    assert bool((tables.waning[:, ::4] == 1).all())  # no antibody, nothing to wane
    assert bool((tables.waning.diff(dim=-1) >= -1e-12).all())


def test_with_a_campaign_kinds_with_two_doses_are_a_mixture(theta, context, host):
    tables = host_tables(theta, context)
    period = periods(context.days) - 1
    share, days = context.campaign.share[period], context.campaign.days[period]
    a = context.archetypes
    two = ode.susceptibility(ode.antibody_titre(host, aged(context, middle(period))), host)
    third = ode.Archetypes(a.age_midpoint, torch.full_like(a.doses, 3.0), days)
    boosted = ode.susceptibility(ode.antibody_titre(host, third), host)
    expected = ((1 - share) * two + share * boosted) / tables.susceptibility
    torch.testing.assert_close(tables.waning[..., period], expected)
    assert bool((tables.waning[:, TWO[3:], period] < (two / tables.susceptibility)[:, TWO[3:]]).all())
    severe = tables.severity[..., period]
    assert bool((severe[:, TWO] < severe[:, TWO - 1]).all())  # milder than with one dose


def test_third_doses_are_those_of_the_register(epidemic_data, context):
    table, known = epidemic_data.campaign_doses, pd.Timestamp(KNOWN)
    share, days = campaign_doses_by(epidemic_data, known)
    people = epidemic_data.population.astype(float)
    two, third = ((epidemic_data.vaccination[..., d] * people).sum(0) for d in (2, 3))
    given = table.loc[known].to_numpy() - table.loc[str(TABLE)].to_numpy()
    assert given[3] == 372002 - 186482
    expected = given[1:] / table.loc[str(TABLE)].to_numpy()[1:] * third[1:] / two[1:]
    np.testing.assert_allclose(share[1:], expected)
    assert share[0] == 0  # the young were not offered one
    weeks = table.loc[str(TABLE) : str(known), "30-39"]
    ago = ((weeks.diff().dropna()) * (24.5 - 7 * np.arange(4))).sum() / given[3]
    assert days[3] == pytest.approx(ago)
    # nobody is given one after the last day known, and they wane
    later, on = campaign_doses_by(epidemic_data, known + pd.Timedelta(days=30))
    np.testing.assert_allclose(later, share)
    np.testing.assert_allclose(on[1:], days[1:] + 30)
    before, _ = campaign_doses_by(epidemic_data, pd.Timestamp(TABLE))
    assert not before.any()
    assert bool((context.campaign.share.diff(dim=0) >= 0).all())
    assert not context.campaign.share[:, TWO - 1].any()


def test_days_since_a_third_dose_are_those_of_the_register(epidemic_data):
    kinds = kinds_of_host(epidemic_data)
    days = kinds.days_since_last_dose.reshape(8, 4)
    assert (days[:, :3] == torch.tensor(ode.DAYS_SINCE_LAST_DOSE[:3])).all()
    assert days[0, 3] == ode.DAYS_SINCE_LAST_DOSE[3]  # none to tell by
    assert bool((days[4:, 3].diff() > 0).all())  # the old came first
    table = epidemic_data.campaign_doses.loc[: str(TABLE), "70+"].to_numpy()
    ago = 7.0 * np.arange(len(table))[::-1] + 7 + 3.5
    assert float(days[7, 3]) == pytest.approx((np.diff(table, prepend=0) * ago).sum() / table[-1])


def test_the_campaign_does_not_hang_on_how_many_days_follow(epidemic_data):
    whole, part = (make_campaign(epidemic_data, days, torch.device("cpu"), torch.float64) for days in (130, 53))
    torch.testing.assert_close(whole.share[: periods(53)], part.share)
    torch.testing.assert_close(whole.days[: periods(53)], part.days)


def test_an_infection_protects_and_wanes(theta, context, host):
    tables = host_tables(theta, context)
    after = tables.reinfection
    assert after.shape == (3, 32, context.days)
    assert not after[..., :INFECTIOUS_DAYS].any()
    assert bool((after[..., INFECTIOUS_DAYS:] > 0).all())
    assert bool((after[:, 0, INFECTIOUS_DAYS:].diff(dim=-1) > 0).all())
    course = ode.within_host(host, aged(context, 0.0), days=INFECTIOUS_DAYS)
    lapse = 40
    left = ode.susceptibility(ode.waned(course.antibody[..., -1], lapse, host), host)
    since = nz.CALENDAR.day_of(WAVE) - nz.CALENDAR.day_of(COUNTED) + INFECTIOUS_DAYS + lapse
    never = ode.susceptibility(ode.antibody_titre(host, aged(context, since)), host)
    torch.testing.assert_close(after[..., INFECTIOUS_DAYS + lapse], left / never)


def test_some_are_infected_twice(theta, context, tiny):
    hosts = host_tables(theta, context)
    rates = make_rates(theta, hosts, context)
    rates.check(tiny.population)
    once = rates.__class__(**{**rates.__dict__, "reinfection": None})
    weaker = rates.__class__(**{**rates.__dict__, "reinfection": 5 * rates.reinfection})
    total = [float(epidemic(tiny.population, r, 0).sum()) for r in (once, rates, weaker)]
    assert total[0] < total[1] < total[2]
    assert total[1] < 1.1 * total[0]
