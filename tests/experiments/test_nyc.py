"""The study of New York City's first wave: declaration, tables, scenarios, and what it committed."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import posterity
from epi.data import load_data
from epi.errors import DataError, StudyError
from epi.scenarios.registry import load_scenarios
from epi.study import Intervention, load_study
from experiments.nyc_first_wave.study import GROUPS, study

FOLDER = Path(__file__).parents[2] / "experiments" / "nyc_first_wave"


@pytest.fixture
def tables(tmp_path):
    for file in study.data.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_the_declaration_is_short_and_its_tables_fit():
    assert len((FOLDER / "study.py").read_text().splitlines()) <= 250
    data = load_data(study)
    assert data.population.sum() == pytest.approx(8_336_817, abs=50)
    assert data.household_counts.shape[0] == 5
    assert int(data.series["admissions_borough"].loc["2020-04-04"].sum()) == 11_807
    assert "cases" not in study.options  # the spring's cases follow the supply of tests


def test_household_sizes_are_those_of_each_borough():
    data = load_data(study)
    size = data.household_types.sum(1)
    mean = data.household_counts @ size / data.household_counts.sum(1)
    np.testing.assert_allclose(mean, [2.77, 2.69, 1.99, 2.82, 2.78], atol=0.08)  # published means of 2010


def test_odds_of_ages_give_the_shares_back():
    odds = load_data(study).series["ages_of_admissions_borough"].loc["2020-04-18"]
    events = [1.0]
    for group in list(GROUPS)[1:]:
        events.append(odds[f"Bronx {group}"] * sum(events))
    np.testing.assert_allclose(
        np.array(events) / sum(events), np.array([130, 1907, 3980, 2499, 2819]) / 11335, rtol=1e-4
    )


def test_closures_are_dated_changes_with_one_size_each():
    dated = {p.name: (p.first, p.layers) for p in study.parts_of(Intervention)}
    assert dated["school_closure"] == (date(2020, 3, 16), ("school",))
    assert dated["pause_work"] == (date(2020, 3, 22), ("work",))
    assert dated["pause_community"] == (date(2020, 3, 22), ("community",))


def test_every_scenario_changes_the_study_and_adds_no_parameter():
    known = {p.name for p in study.parameters()}
    scenarios = load_scenarios("experiments.nyc_first_wave.study")
    assert set(scenarios) == {"pause-earlier", "pause-later", "schools-alone", "no-closure"}
    for scenario in scenarios.values():
        changed = scenario.change(study)
        assert changed != study
        assert {p.name for p in changed.parameters()} <= known


def test_the_survey_is_fitted_in_a_variant_with_its_week():
    variant = load_study("experiments.nyc_first_wave.with_survey")
    assert variant.calendar.forecast_from == date(2020, 4, 25)
    assert "serosurvey" in variant.default_options
    assert "serosurvey" not in study.default_options


def test_a_borough_in_one_table_and_not_in_another_is_one_sentence(tables):
    file = tables / "visits.csv"
    rows = pd.read_csv(file)
    rows[rows["borough"] != "Queens"].to_csv(file, index=False)
    with pytest.raises(DataError, match=r"visits\.csv has no row for 'Queens' in the week ending 2020-03-07"):
        load_data(study, tables)
    rows.assign(borough=rows["borough"].replace("Queens", "Quens")).to_csv(file, index=False)
    with pytest.raises(DataError, match="found 'Quens', expected 'Queens'"):
        load_data(study, tables)


def test_three_lines_simulate_and_map():
    run = posterity.Study.load("nyc_first_wave").simulate(scale=0.002, draws=2)
    figure = run.map("infections")
    assert {t.get_text().split("\n")[0] for t in figure.axes[0].texts} == {
        "Bronx",
        "Brooklyn",
        "Manhattan",
        "Queens",
        "Staten",
    }
    with pytest.raises(StudyError, match="choose infections, attack_rate or one of admissions_borough"):
        run.map("rain")


def test_the_committed_predictions_of_surveys_have_their_columns():
    table = pd.read_csv(FOLDER / "results" / "serosurvey_predictions.csv")
    assert list(table.columns) == [
        "quantity", "area", "age_band", "first_sample", "last_sample", "sensitivity", "specificity", "quantile", "value",
    ]  # fmt: skip
    assert set(table["quantity"]) == {"ever_infected", "seropositive"}
    assert set(table["area"]) == {*study.region.names, "Citywide"}
    assert {"18+", *GROUPS} <= set(table["age_band"])
    assert (table["first_sample"].min(), table["last_sample"].max()) == ("2020-04-06", "2020-10-31")
    assert table["value"].between(0, 100).all()
    ever = table[(table["quantity"] == "ever_infected") & (table["quantile"] == 0.5) & (table["age_band"] == "18+")]
    for _, rows in ever.groupby("area"):
        assert rows.sort_values("first_sample")["value"].is_monotonic_increasing
