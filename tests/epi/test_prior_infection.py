"""Infections before the study: who had one, how it protects, and what a bad table says."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

import epi
from epi import LogitNormal, LogNormal
from epi.data import load_data
from epi.errors import DataError, StudyError
from epi.model.transmission import host_tables
from tests.epi.conftest import build
from tests.made_up.study import study

BANDS, REGIONS = study.ages.names, study.region.names
PEOPLE = np.array([[2600, 6100, 2300], [1500, 3700, 1800]])
SHARE = np.array([[0.30, 0.20, 0.10], [0.15, 0.10, 0.05]])
DAYS = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The made-up tables, and reported cases of an epidemic before."""
    path = tmp_path_factory.mktemp("before")
    for file in study.data.glob("*.csv"):
        (path / file.name).write_bytes(file.read_bytes())
    rows = [(r, a, int(PEOPLE[i, j] * SHARE[i, j]), DAYS) for i, r in enumerate(REGIONS) for j, a in enumerate(BANDS)]
    pd.DataFrame(rows, columns=["county", "age_band", "cases", "days"]).to_csv(
        path / "prior_infections.csv", index=False
    )
    return path


def declared(folder, **changes):
    part = epi.PriorInfection(LogitNormal(0.0, 0.5), LogitNormal(1.0, 0.5), counted_on=study.calendar.start, **changes)
    return replace(study, parts=(*study.parts, part), data=folder)


@pytest.fixture(scope="module")
def simulator(folder):
    """The made-up study with infections before, all people."""
    return build(declared(folder, half_life=LogNormal(100.0, 0.3), against_severe=LogitNormal(0.0, 0.5)), scale=1.0)


def median(simulator, **changes):
    theta = simulator.space.to_theta(torch.zeros(1, simulator.space.dim))
    return theta | {name: torch.full_like(theta[name], value) for name, value in changes.items()}


@pytest.mark.parametrize("reported", [0.95, 0.5, 0.41, 0.2])
def test_mean_susceptibility_falls_by_share_infected_times_protection(simulator, reported):
    theta = median(simulator, prior_ascertainment=reported, prior_protection=0.8, prior_half_life=1e9)
    hosts = host_tables(theta, simulator.context)
    by_age = (simulator.observation.share @ (hosts.susceptibility * hosts.waning[..., 0])[0]).numpy()
    infected = (PEOPLE * SHARE).sum(0) / PEOPLE.sum(0) / reported
    if reported < 0.3:  # no more than everybody
        infected = (PEOPLE * np.minimum(SHARE / reported, 1.0)).sum(0) / PEOPLE.sum(0)
    np.testing.assert_allclose(by_age, 1 - 0.8 * infected, rtol=1e-3)


def test_people_hold_the_share_infected_of_their_region_and_age(simulator):
    people, classes = simulator.population, simulator.context.setting.data.prior_cases.classes
    number = people.archetype % classes.shape[-1]
    for group in range(6):
        drawn = np.bincount(number[people.group == group], minlength=classes.shape[-1]) / (people.group == group).sum()
        np.testing.assert_allclose(drawn, classes.reshape(6, -1)[group], atol=2e-3)
    assert (people.archetype // classes.shape[-1] == people.group % 3).all()


def test_protection_halves_in_its_half_life(simulator):
    part = next(p for p in simulator.context.parts if hasattr(p, "changed_hosts"))
    theta = median(simulator, prior_protection=0.8, prior_half_life=67.0)
    # the middle of the first period is day 7, 67 days after the infections
    torch.testing.assert_close(part.protection(theta)[0, 0], torch.full((3,), 0.4, dtype=torch.float64))


def test_without_protection_the_epidemic_is_that_of_the_plain_study(simulator):
    plain, runs = build(study, scale=1.0), 24
    theta = median(simulator, prior_protection=0.0)
    own = {n: x.expand(runs, *x.shape[1:]) for n, x in theta.items()}
    one, two = (
        s.bind(3, torch.arange(runs))({p.name: own[p.name] for p in s.study.parameters()})["infections_county"].sum(
            (1, 2)
        )
        for s in (simulator, plain)
    )
    error = ((one.var() + two.var()) / runs).sqrt()
    assert abs(one.mean() - two.mean()) < 3.5 * error
    assert error < 0.05 * two.mean()


def test_protection_means_fewer_infections_and_milder_ones(simulator):
    totals = [
        simulator.bind(5)(median(simulator, prior_protection=p))["infections_county"].sum() for p in (0.1, 0.5, 0.9)
    ]
    assert totals[0] > totals[1] > totals[2]
    severe = [
        host_tables(median(simulator, prior_protection=0.5, prior_against_severe=g), simulator.context).severity.mean()
        for g in (0.0, 0.8)
    ]
    assert severe[1] < severe[0] == 1.0


def test_the_jacobian_knows_prior_infection(simulator):
    z = torch.zeros(1, simulator.space.dim)
    _, slopes = simulator.jacobian(z, 7)
    at = {
        n: simulator.space.slice_of(n).start
        for n in ("prior_protection", "prior_ascertainment", "prior_against_severe")
    }
    infections = simulator.layout.slices["infections_county"]
    total = slopes[0, infections].sum(0)
    assert total[at["prior_protection"]] < 0 < total[at["prior_ascertainment"]]
    assert total[at["prior_against_severe"]] == 0
    step = torch.zeros_like(z)
    step[:, at["prior_against_severe"]] = 1e-5
    ends = [simulator.layout.flat(simulator.bind(7)(simulator.space.to_theta(z + s * step))) for s in (1, -1)]
    torch.testing.assert_close(
        slopes[..., at["prior_against_severe"]], (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-6
    )


def test_importations_follow_a_profile_of_ages(folder):
    days = pd.date_range(study.calendar.start, periods=7)
    rows = [(d.date(), r, 10.0) for d in days for r in REGIONS]
    pd.DataFrame(rows, columns=["date", "county", "infections"]).to_csv(folder / "importations.csv", index=False)
    given = replace(declared(folder), parts=(*study.parts[:5], epi.Importations(LogNormal(1.0, 0.2)), *study.parts[6:]))
    with_profile = replace(given, parts=tuple(
        replace(p, age_profile="admissions_age") if isinstance(p, epi.Importations) else p for p in given.parts
    ))  # fmt: skip
    for one in (given, with_profile):
        s = build(one)
        hazard = next(p.importation(median(s)) for p in s.context.parts if hasattr(p, "importation"))
        infected = (hazard[0].reshape(-1, 2, 3)[:7] * torch.as_tensor(PEOPLE)).sum((0, 2))
        assert hazard[0, 7:].sum() == 0
        if one is given:
            torch.testing.assert_close(infected, torch.full((2,), 70.0, dtype=torch.float64))
        else:
            assert float(infected.sum()) == pytest.approx(140.0, rel=0.1)  # profile has mean 1 over all people
            early = s.context.setting.data.series["admissions_age"].iloc[:1].to_numpy()[0] + 1.0
            per_person = early / PEOPLE.sum(0)
            torch.testing.assert_close(hazard[0, 0, :3] / hazard[0, 0, 0], torch.as_tensor(per_person / per_person[0]))


def test_bad_tables_and_steps_have_their_sentence(folder, tmp_path):
    with pytest.raises(StudyError, match="rise from 1"):
        epi.PriorInfection(LogitNormal(0, 1), LogitNormal(0, 1), date(2030, 1, 1), infections_per_case=(2.0, 1.0))
    for file in folder.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = pd.read_csv(tmp_path / "prior_infections.csv")
    table.assign(cases=10_000).to_csv(tmp_path / "prior_infections.csv", index=False)
    with pytest.raises(DataError, match=r"prior_infections.csv, line 2: found 10,000 cases among 2,600 people"):
        load_data(declared(tmp_path))
    table.iloc[1:].to_csv(tmp_path / "prior_infections.csv", index=False)
    with pytest.raises(DataError, match=r"prior_infections\.csv"):
        load_data(declared(tmp_path))
