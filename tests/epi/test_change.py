"""Changes that any study can be asked about: R0 by the next-generation matrix, contacts on some days, parameters."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from epi.errors import StudyError
from epi.model import make_rates, reproduction_number
from epi.model.transmission import host_tables
from epi.scenarios.change import (
    AFTER,
    BEFORE,
    Change,
    changed_simulator,
    changed_theta,
    simulate_change,
    stream_variable,
)
from epi.scenarios.reproduction import factor_for
from tests.epi.conftest import build
from tests.made_up.study import study


@pytest.fixture(scope="module")
def small():
    return build(study, scale=0.05)


@pytest.fixture(scope="module")
def theta(small):
    return small.space.to_theta(
        0.3 * torch.randn(4, small.space.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )


@pytest.mark.parametrize("target", [0.4, 1.0, 4.5])
def test_every_draw_has_the_r0_that_was_asked_for(small, theta, target):
    new = changed_theta(small, theta, Change(r0=target))
    assert torch.allclose(reproduction_number(small, new), torch.full((4,), target, dtype=torch.float64), rtol=2e-4)
    ratio = new["transmission_school"] / theta["transmission_school"]
    for layer in study.layers:  # one factor on all
        assert torch.allclose(new[f"transmission_{layer}"] / theta[f"transmission_{layer}"], ratio)


def test_where_everybody_meets_everybody_the_factor_is_in_proportion(small, theta):
    only = {
        **theta,
        **{
            f"transmission_{layer}": torch.zeros(4, dtype=torch.float64)
            for layer in study.layers
            if layer != "community"
        },
    }
    usual = reproduction_number(small, only)
    assert torch.allclose(factor_for(small, only, 3.0), 3.0 / usual, rtol=2e-4)


def test_an_r0_that_nothing_gives_is_refused(small, theta):
    homes = {
        **theta,
        **{
            f"transmission_{layer}": torch.zeros(4, dtype=torch.float64)
            for layer in study.layers
            if layer != "household"
        },
    }
    with pytest.raises(StudyError, match="No factor on transmission"):
        factor_for(small, homes, 50.0)


def test_a_factor_is_on_its_layer_and_days_alone(small, theta):
    first, last = date(2030, 4, 1), date(2030, 4, 14)
    moved = changed_simulator(small, Change(factor=0.25, layers=("school",), first=first, last=last))
    hosts = host_tables(theta, small.context)
    ratio = make_rates(theta, hosts, moved.context).transmission / make_rates(theta, hosts, small.context).transmission
    calendar, school = study.calendar, study.layers.index("school")
    inside = np.zeros(calendar.days, dtype=bool)
    inside[calendar.day_of(first) : calendar.day_of(last) + 1] = True
    open_days = ~torch.isnan(ratio[0, school])
    assert torch.allclose(ratio[0, school][open_days & torch.tensor(inside)], torch.tensor(0.25, dtype=torch.float64))
    assert torch.allclose(ratio[0, school][open_days & ~torch.tensor(inside)], torch.tensor(1.0, dtype=torch.float64))
    others = torch.cat([ratio[:, :school], ratio[:, school + 1 :]], 1)
    assert torch.allclose(others[~torch.isnan(others)], torch.tensor(1.0, dtype=torch.float64))


def test_parameters_are_set_and_multiplied_by_element(small, theta):
    new = changed_theta(small, theta, Change(parameter="county_effect[South]", value=0.5))
    assert torch.equal(new["county_effect"][:, 0], theta["county_effect"][:, 0])
    assert torch.equal(new["county_effect"][:, 1], torch.full((4,), 0.5, dtype=torch.float64))
    twice = changed_theta(small, theta, Change(parameter="seed_level", times=2.0))
    assert torch.equal(twice["seed_level"], 2 * theta["seed_level"])
    with pytest.raises(StudyError, match="outside its range"):
        changed_theta(small, theta, Change(parameter="ascertainment_tests", value=1.5))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change(), "names no R0"),
        (Change(r0=0.0), "above 0"),
        (Change(factor=-1.0), "from 0 to"),
        (Change(factor=0.5, layers=("pub",)), "no layer 'pub'"),
        (Change(factor=0.5, first=date(2031, 1, 1)), "expected days from"),
        (Change(parameter="nonsense", value=1.0), "no parameter 'nonsense'"),
        (Change(parameter="county_effect[East]", value=1.0), "no parameter"),
        (Change(parameter="seed_level"), "either a value or a factor"),
    ],
)
def test_changes_that_make_no_sense_are_one_sentence(change, said):
    with pytest.raises(StudyError, match=said):
        change.check(study)


def test_worlds_share_their_random_numbers(small, theta):
    fitted = SimpleNamespace(simulator=small, theta=theta, draws=4)
    same = simulate_change(fitted, Change(factor=1.0), draws=4)  # type: ignore[arg-type]
    for name in same.data_vars:
        assert np.array_equal(same[name].sel(world=BEFORE), same[name].sel(world=AFTER), equal_nan=True), name
    closed = simulate_change(fitted, Change(factor=0.0), draws=4)  # type: ignore[arg-type]
    infections = closed[stream_variable("infections_county")].sum(
        ("week", "place of " + stream_variable("infections_county"))
    )
    assert float(infections.sel(world=BEFORE).sum()) > 1000
    assert (infections.sel(world=AFTER) <= 0.2 * infections.sel(world=BEFORE)).all()
    late = simulate_change(fitted, Change(factor=0.0, first=date(2030, 5, 12)), draws=4)  # type: ignore[arg-type]
    early = late[stream_variable("infections_county")].isel(week=slice(0, 8))
    assert np.array_equal(early.sel(world=BEFORE), early.sel(world=AFTER))
