"""A new region, disease, venue and stream: each is a short file, and each works."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from epi.data import observed
from epi.model.distributions import observation_distribution
from tests.epi.conftest import build
from tests.examples import new_disease, new_region, new_stream, new_venue
from tests.made_up.study import study as known

ROOT = Path(__file__).parents[2]
LIMITS = {"new_region": 60, "new_disease": 150, "new_venue": 20, "new_stream": 30}
WRITTEN = ROOT / "docs" / "studies.md"


def at_medians(simulator, seed=3):
    """Expected observations, and their Jacobian."""
    z = torch.zeros(1, simulator.space.dim)
    _, slopes = simulator.jacobian(z, seed)
    assert torch.isfinite(slopes).all()
    return simulator.bind(seed)(simulator.space.to_theta(z)), slopes[0]


def log_likelihood(simulator, expected):
    """Of the data of the fitted weeks, by stream."""
    data, index = simulator.context.setting.data, simulator.layout.index
    given, out = observed(data, index, simulator.study.options), {}
    theta = simulator.space.to_theta(torch.zeros(1, simulator.space.dim))
    for s in simulator.study.observed:
        fn = observation_distribution(s, expected[s.name], theta)
        values = fn.log_prob(given.counts[s.name].nan_to_num(1.0))
        out[s.name] = float(values[0][given.in_likelihood[s.name]].sum())
    return out


@pytest.mark.parametrize("name", LIMITS)
def test_each_is_short_and_the_page_says_how_short(name):
    lines = len((ROOT / "tests" / "examples" / f"{name}.py").read_text().splitlines())
    assert lines < LIMITS[name]
    row = re.search(rf"`tests/examples/{name}\.py`[^|]*\| (\d+) \|", WRITTEN.read_text())
    assert row is not None
    assert int(row[1]) == lines


@pytest.fixture
def coast(tmp_path):
    """Tables of three districts: those of the made-up counties, North's twice, under other names and dates."""
    study, source = new_region.study, {"East": "North", "West": "South", "Isle": "North"}
    shift = pd.Timestamp(study.calendar.first_week) - pd.Timestamp(known.calendar.first_week)
    for name in ("population", "schools", "work", "cases_county"):
        table = pd.read_csv(known.data / f"{name}.csv")
        table = pd.concat([table[table["county"] == old].assign(county=new) for new, old in source.items()])
        if "week_ending" in table:
            moved = pd.to_datetime(table["week_ending"]) + shift
            table = table.assign(week_ending=moved.dt.strftime("%Y-%m-%d")).sort_values("week_ending", kind="stable")
        file = name.replace("county", "district")
        table.rename(columns={"county": "district"}).to_csv(tmp_path / f"{file}.csv", index=False)
    (tmp_path / "households.csv").write_bytes((known.data / "households.csv").read_bytes())
    places = pd.DataFrame({"district": source, "latitude": 0.0, "longitude": 0.0}).assign(district=list(source))
    places.assign(latitude=[50.0, 50.4, 49.0], longitude=[5.0, 5.1, 4.2]).to_csv(
        tmp_path / "districts.csv", index=False
    )
    return replace(study, data=tmp_path)


def test_a_new_region_has_its_districts_weeks_and_areas(coast):
    simulator = build(coast)
    expected, _ = at_medians(simulator)
    assert expected["cases_district"].shape == (1, 9, 3)
    assert np.isfinite(log_likelihood(simulator, expected)["cases_district"])
    assert (
        not observed(simulator.context.setting.data, simulator.layout.index, coast.options)
        .in_likelihood["cases_district"][2]
        .any()
    )
    assert {"ascertainment_home_tests", "district_effect"} <= {p.name for p in coast.parameters()}


def test_a_new_disease_infects_again_and_has_slopes():
    simulator = build(new_disease.study)
    expected, slopes = at_medians(simulator)
    assert np.isfinite(sum(log_likelihood(simulator, expected).values()))
    infections = simulator.layout.slices["infections_county"]
    for name in ("cold_duration", "cold_immunity", "cold_old"):
        assert float(slopes[infections, simulator.space.slice_of(name).start].abs().sum()) > 0
    theta = simulator.space.to_theta(torch.zeros(1, simulator.space.dim))
    totals = [
        float(simulator.bind(3)(theta | {"cold_immunity": torch.full((1,), days)})["infections_county"].sum())
        for days in (1.0, 1e6)
    ]
    assert totals[0] > 1.2 * totals[1]


def test_a_new_venue_is_a_layer_with_a_rate():
    simulator = build(new_venue.study)
    people = simulator.population
    assert people.venue_names[-1] == "choir"
    old, sings = people.group % 3 == 2, people.venues[-1] >= 0
    assert sings[old].mean() == pytest.approx(0.10, abs=0.01)
    assert not sings[people.group % 3 == 0].any()
    _, slopes = at_medians(simulator)
    assert float(slopes[:, simulator.space.slice_of("transmission_choir").start].abs().sum()) > 0


def test_a_new_stream_enters_the_likelihood(tmp_path):
    for file in known.data.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    cases = pd.read_csv(tmp_path / "cases_county.csv")
    cases.assign(calls=cases["cases"] + 12).drop(columns="cases").to_csv(tmp_path / "calls.csv", index=False)
    simulator = build(replace(new_stream.study, data=tmp_path))
    expected, slopes = at_medians(simulator)
    assert np.isfinite(log_likelihood(simulator, expected)["calls"])
    share = simulator.space.slice_of("calls_share").start
    assert float(slopes[simulator.layout.slices["calls"], share].min()) >= 0
    assert float(slopes[simulator.layout.slices["cases_county"], share].abs().sum()) == 0
