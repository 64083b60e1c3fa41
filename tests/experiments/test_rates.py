"""From parameters to rates: closed forms."""

import dataclasses
from datetime import date

import numpy as np
import pytest
import torch

from epi.model.community import gravity
from epi.model.layers import variant_factor
from epi.model.setting import ImportationPart
from epi.model.transmission import host_tables, make_rates
from epi.study import Variant
from sim import COMMUNITY, HOUSEHOLD, VENUES
from tests.experiments import nz

SCHOOL, WORK = VENUES, VENUES + 1
OPEN = nz.CALENDAR.day_of(nz.OPEN)
VARIANT = nz.study.need(Variant, "The test")


def mixing(theta, context):
    return make_rates(theta, host_tables(theta, context), context).mixing


def importation(theta, context):
    (part,) = context.of(ImportationPart)
    return part.importation(theta)


def variant(theta, context):
    day = torch.arange(context.days) - float(nz.CALENDAR.day_of(VARIANT.day))
    return variant_factor(VARIANT, theta, day)


@pytest.fixture
def rates(theta, context):
    return make_rates(theta, host_tables(theta, context), context)


def test_gravity_sends_contacts_to_large_and_near_districts(epidemic_data):
    between = gravity(epidemic_data, 150.0)
    np.testing.assert_allclose(between.sum(1), 1.0)
    assert np.all(np.diag(between) == 0)
    assert np.all(between >= 0)
    at = {name: i for i, name in enumerate(nz.DISTRICTS)}
    assert nz.DISTRICTS[between[at["Northland"]].argmax()] == "Waitemata"
    assert between[at["West Coast"], at["Canterbury"]] > 0.4
    assert between[at["Northland"], at["Southern"]] < 0.005
    # people there times a function of the distance, which is the same both ways: Kolmogorov's criterion
    odds = between / epidemic_data.population.sum(1)
    i, j, k = at["Lakes"], at["Hutt Valley"], at["Southern"]
    assert odds[i, j] * odds[j, k] * odds[k, i] == pytest.approx(odds[i, k] * odds[k, j] * odds[j, i])


def test_rows_of_mixing_are_contacts_of_age_times_effect_of_district(theta, context, epidemic_data):
    rows = mixing(theta, context).sum(-1).unflatten(-1, (20, 8))
    effect = torch.exp(theta["district_spread"][:, None] * theta["district_effect"])
    per_age = rows / effect[..., None]
    torch.testing.assert_close(per_age, per_age[:, :1].expand_as(per_age))  # the same in each district
    ratio = per_age[:, 0] / theta["age_contact"]
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))  # contact rates up to a factor
    people = torch.as_tensor(epidemic_data.population.sum(0) / epidemic_data.population.sum(), dtype=torch.float64)
    mean = (per_age[:, 0] * people).sum(-1)
    torch.testing.assert_close(mean, torch.ones(3), rtol=0.02, atol=0)


def test_coupling_and_assortativity_in_the_limits(theta, context):
    zero = torch.zeros(3)
    apart = mixing(theta | {"coupling": zero}, context).unflatten(-1, (20, 8)).unflatten(1, (20, 8))
    assert not apart.permute(0, 1, 3, 2, 4)[:, ~torch.eye(20, dtype=torch.bool)].any()
    own = mixing(theta | {"assortativity": zero + 1}, context).unflatten(-1, (20, 8)).unflatten(1, (20, 8))
    assert not own.permute(0, 2, 4, 1, 3)[:, ~torch.eye(8, dtype=torch.bool)].any()
    outside = mixing(theta, context).unflatten(-1, (20, 8)).unflatten(1, (20, 8)).sum((-1, 2))  # [P, R, R']
    share = 1 - outside.diagonal(dim1=1, dim2=2) / outside.sum(-1)
    torch.testing.assert_close(share, theta["coupling"][:, None].expand_as(share))


def test_importation_sums_to_its_level_and_ends_at_the_opening(theta, context, epidemic_data):
    theta = theta | {"district_seed": torch.zeros(3, 20)}
    hazard = importation(theta, context)
    people = torch.as_tensor(epidemic_data.population.ravel(), dtype=torch.float64)
    per_person = (hazard.sum(1) * people).sum(-1) / people.sum()
    torch.testing.assert_close(per_person, 1e-4 * theta["seed_level"])
    assert not hazard[:, OPEN:].any()
    growth = hazard[:, 1:OPEN] / hazard[:, : OPEN - 1]
    torch.testing.assert_close(growth, theta["seed_growth"].exp()[:, None, None].expand_as(growth))


def test_seeding_of_a_district_is_its_own(theta, context):
    effect = torch.zeros(3, 20)
    effect[:, 7] = 1.0
    plain = importation(theta | {"district_seed": torch.zeros(3, 20)}, context).unflatten(-1, (20, 8))
    lifted = importation(theta | {"district_seed": effect}, context).unflatten(-1, (20, 8))
    ratio = (lifted / plain)[:, :OPEN]
    expected = theta["seed_spread"].exp()[:, None, None]
    assert bool((expected > 1).all())
    torch.testing.assert_close(ratio[:, :, 7], expected.expand_as(ratio[:, :, 7]))
    assert bool((ratio[:, :, :7] == 1).all())


def test_people_meet_outside_from_the_opening_and_at_school_in_term(rates, theta, context):
    outside = rates.transmission[:, COMMUNITY:]
    assert not outside[..., :OPEN].any()
    assert bool((rates.transmission[:, COMMUNITY, OPEN:] > 0).all())
    home = rates.transmission[:, HOUSEHOLD]
    torch.testing.assert_close(home, theta["transmission_household"][:, None] * variant(theta, context))
    days = torch.arange(rates.days)
    weekend = (days + 3) % 7 >= 5  # day 0 is a Thursday
    assert not rates.transmission[:, SCHOOL:, weekend].any()
    holiday = (days > nz.CALENDAR.day_of(date(2022, 4, 14))) & (days < nz.CALENDAR.day_of(date(2022, 5, 2)))
    assert int(holiday.sum()) == 17
    assert not rates.transmission[:, SCHOOL, holiday].any()
    working = (days >= OPEN) & ~weekend
    assert bool((rates.transmission[:, WORK, working] > 0).all())
    assert bool((rates.transmission[:, SCHOOL, working & ~holiday] > 0).all())


def test_drift_steps_every_four_weeks(rates, theta):
    level = rates.transmission[:, COMMUNITY] / theta["transmission_community"][:, None]
    level = level / (rates.transmission[:, HOUSEHOLD] / theta["transmission_household"][:, None])
    walk = torch.cumsum(torch.cat([torch.zeros(3, 1), torch.tensor(nz.WALK.sds) * theta["drift"]], 1), 1)
    start = nz.CALENDAR.day_of(nz.WALK.start)
    for block in range(len(nz.WALK.sds) + 1):
        day = start + nz.WALK.every_days * block
        stretch = level[:, max(day, OPEN) : day + nz.WALK.every_days if block < len(nz.WALK.sds) else None]
        expected = torch.exp(walk[:, block : block + 1]).expand_as(stretch)
        torch.testing.assert_close(stretch, expected)


def test_ba2_takes_over_at_the_rate_of_its_advantage(theta, context):
    factor, advantage = variant(theta, context), theta["variant_advantage"][:, None]
    share = (factor - 1) / (advantage - 1)
    odds = torch.logit(share)
    torch.testing.assert_close(odds.diff(dim=1), (advantage.log() / VARIANT.generation).expand(-1, context.days - 1))
    half = nz.CALENDAR.day_of(VARIANT.day)
    at_midpoint = variant(theta | {"variant_midpoint": torch.zeros(3)}, context)[:, half]
    torch.testing.assert_close(at_midpoint, 0.5 * (1 + advantage[:, 0]))


def test_rates_fit_the_population_and_particles_are_alone(rates, theta, context, tiny):
    rates.check(tiny.population)
    row = {name: x[1:2] for name, x in theta.items()}
    alone = make_rates(row, host_tables(row, context), context)
    for field in dataclasses.fields(rates):
        torch.testing.assert_close(getattr(alone, field.name)[0], getattr(rates, field.name)[1])
