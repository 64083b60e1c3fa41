"""Derived quantities: closed forms, and what a table of them says."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import epi
from epi.model.derived import derive, flatten, quantities, renewal, split
from epi.model.epidemic import Epidemic
from epi.model.transmission import host_tables
from epi.outputs.derived import summarise, write_derived
from tests.epi.conftest import build
from tests.made_up.study import study

REGIMES = epi.Reporting(
    (
        epi.ReportingRegime("first", epi.LogitNormal(-0.5, 0.5)),
        epi.ReportingRegime("later", epi.LogitNormal(-2.0, 0.5), start=date(2030, 4, 20)),
    )
)
FATALITY = epi.Fatality(epi.LogNormal(0.02, 0.4), epi.LogNormal(0.9, 0.2))
DEATHS = epi.Deaths(by="age", delay=epi.Delay(15.0, 5.0), family=epi.NegativeBinomial(epi.LogNormal(0.2, 0.4)))
BEDS = epi.Occupancy(
    by="county", delay=epi.Delay(8.0, 2.0), stay=epi.Delay(4.0, 2.0), days=epi.LogNormal(5.0, 0.2),
    family=epi.NegativeBinomial(epi.LogNormal(0.2, 0.4)),
)  # fmt: skip


@pytest.fixture(scope="module")
def fuller(made_up):
    """The made-up study with two regimes, deaths and beds, and its simulator."""
    parts = tuple(p for p in study.parts if not isinstance(p, epi.Reporting))
    declared = replace(study, parts=(*parts, REGIMES, FATALITY), streams=(*study.streams[:2], DEATHS, BEDS))
    weeks = study.calendar.weeks()
    more = {s.name: pd.DataFrame(0.0, weeks, list(s.places(declared))) for s in (DEATHS, BEDS)}
    return build(declared, replace(made_up.data, study=declared, series=made_up.data.series | more))


def given(simulator, infections):
    """An epidemic with infections `[P, T, R, A]` of our own, at the medians of the priors."""
    theta = simulator.space.to_theta(torch.zeros(len(infections), simulator.space.dim, dtype=torch.float64))
    return Epidemic(theta, host_tables(theta, simulator.context), infections, simulator.observation)


@pytest.mark.parametrize("growth", [-0.05, 0.0, 0.12])
def test_the_reproduction_number_of_constant_growth(growth):
    """Infections that grow as exp(rt) have R = 1 / sum_s w_s exp(-rs) (Wallinga and Lipsitch 2007)."""
    profile = torch.tensor([0.0, 0.1, 0.3, 0.4, 0.2], dtype=torch.float64)
    day = torch.arange(40, dtype=torch.float64)
    infections = 100 * torch.exp(growth * day)[:, None]
    week = torch.zeros(5, 40, dtype=torch.float64)
    for w in range(5):
        week[w, 5 + 7 * w : 12 + 7 * w] = 1.0
    wanted = 1 / float((profile * torch.exp(-growth * (1 + day[:5]))).sum())
    assert np.allclose(renewal(infections, profile, week), wanted)
    # too few infections before to say
    assert torch.isnan(renewal(1e-5 * infections, profile, week)).all()


def test_constant_growth_in_a_study(fuller):
    day = torch.arange(fuller.context.days, dtype=torch.float64)
    infections = torch.exp(0.06 * day)[:, None, None].expand(-1, 2, 3)[None]
    found = derive(given(fuller, infections))
    profile = fuller.context.disease.profile
    wanted = 1 / float((profile * torch.exp(-0.06 * (1 + day[: len(profile)]))).sum())
    late = found["Rt", "county"][0, 4:]  # the first infections have no predecessors
    assert np.allclose(late, wanted, rtol=1e-3)


def test_attack_rates_are_infections_over_people(fuller, made_up):
    infections = torch.rand(2, fuller.context.days, 2, 3, dtype=torch.float64)
    found, people = derive(given(fuller, infections)), torch.as_tensor(made_up.data.population, dtype=torch.float64)
    assert torch.allclose(found["attack rate", "age"][:, 0], 100 * infections.sum((1, 2)) / people.sum(0))
    assert torch.allclose(found["attack rate", "county"][:, 0], 100 * infections.sum((1, 3)) / people.sum(1))
    assert torch.allclose(
        found["infections per 100,000", "all"][:, 0, 0], 1e5 * infections.sum((1, 2, 3)) / people.sum()
    )
    weeks = found["infections", "all"][:, :, 0]
    assert torch.allclose(weeks.sum(1), infections[:, -77:].sum((1, 2, 3)))


def test_ascertainment_follows_the_regimes(fuller, made_up):
    infections = torch.ones(1, fuller.context.days, 2, 3, dtype=torch.float64)
    epidemic = given(fuller, infections)
    found = derive(epidemic)
    first, later = (100 * float(epidemic.theta[f"ascertainment_{n}"]) for n in ("first", "later"))
    assert found["ascertainment", "regime"].flatten().tolist() == pytest.approx([first, later])
    by_week = found["ascertainment", "all"][0, :, 0]
    assert by_week[0] == pytest.approx(first, rel=1e-3)
    assert by_week[-4:].tolist() == pytest.approx(
        [later] * 4, rel=1e-9
    )  # infected after the change, or reported after the last day
    assert ((by_week[1:] - by_week[:-1]) <= 1e-12).all()
    # one regime: the parameter itself
    one = given(made_up.simulator, infections)
    assert torch.allclose(derive(one)["ascertainment", "all"], 100 * one.theta["ascertainment_tests"])


def test_ratios_are_the_risks_of_those_infected(fuller):
    infections = torch.rand(1, fuller.context.days, 2, 3, dtype=torch.float64)
    epidemic = given(fuller, infections)
    found, by_age = derive(epidemic), infections.sum((1, 2))[0]
    for name, risk in (("hospitalisation", epidemic.admitted[0, 0]), ("fatality", epidemic.dead[0, 0])):
        assert torch.allclose(found[f"infection-{name} ratio", "age"][0, 0], 100 * risk)
        whole = 100 * (risk * by_age).sum() / by_age.sum()
        assert found[f"infection-{name} ratio", "all"].item() == pytest.approx(whole.item())
    assert (epidemic.dead[0, 0].diff() > 0).all()


def test_hospital_days_are_admissions_times_days(fuller):
    infections = torch.zeros(1, fuller.context.days, 2, 3, dtype=torch.float64)
    infections[:, 8:15] = 100.0
    epidemic = given(fuller, infections)
    found = derive(epidemic)
    admitted = (infections.sum((1, 2))[0] * epidemic.admitted[0, 0]).sum()
    wanted = float(admitted * epidemic.theta["hospital_days"])
    assert found["hospital days of all infected", "all"].item() == pytest.approx(wanted)
    assert found["hospital days of all infected", "county"].sum().item() == pytest.approx(wanted)
    # all of them lie in the weeks that are simulated
    assert found["hospital days", "all"].sum().item() == pytest.approx(wanted, rel=1e-6)


def test_the_table_has_intervals_of_every_draw(fuller, tmp_path):
    z = 0.2 * torch.randn(6, fuller.space.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, epidemic = fuller.simulate(fuller.space.to_theta(z), 3)
    values, weeks = derive(epidemic), len(fuller.observation.weeks)
    flat = flatten(fuller.study, values)
    back = split(fuller.study, weeks, flat)
    assert all(torch.equal(back[key].nan_to_num(), x.nan_to_num()) for key, x in values.items())
    assert {(q.name, q.by) for q in quantities(fuller.study)} == set(values)
    table = summarise(fuller.observation, values)
    assert (table.q025 <= table["median"]).all()
    assert (table["median"] <= table.q975).all()
    row = table[(table.quantity == "attack rate") & (table.place == "North")].iloc[0]
    assert row["median"] == pytest.approx(float(values["attack rate", "county"][:, 0, 0].quantile(0.5)))
    assert row.draws == 6
    write_derived(fuller.observation, flat, tmp_path)
    assert len(pd.read_csv(tmp_path / "derived.csv")) == len(table)
    every = xr.load_dataset(tmp_path / "derived.nc", engine="h5netcdf")
    assert every["attack_rate_county"].dims == ("draw", "county")
    assert every["rt_all"].sizes == {"draw": 6, "week": weeks, "all": 1}
