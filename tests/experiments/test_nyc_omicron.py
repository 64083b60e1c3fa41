"""The study of New York's Omicron wave: declaration, tables, the committed forecast, and its scores against made-up truth."""

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import epi
from calib import HUB_LEVELS
from epi.data import load_data, share_known
from epi.errors import DataError
from experiments.nyc_omicron import score as scoring
from experiments.nyc_omicron.completeness import weekly_vintages
from experiments.nyc_omicron.forecast import CITY, TARGETS, forecast_rows, write_forecast
from experiments.nyc_omicron.rehearsal_december import study as december
from experiments.nyc_omicron.rehearsal_october import study as october
from experiments.nyc_omicron.study import FORECAST_FROM, study

FOLDER = Path(__file__).parents[2] / "experiments" / "nyc_omicron"
BOROUGHS = study.region.names


@pytest.fixture(scope="module")
def predicted():
    """Draws of a forecast as a run keeps them: around 1,000 + 100 a week in every borough."""
    weeks = study.calendar.weeks()
    rng = np.random.default_rng(0)
    mean = 1000.0 + 100.0 * np.arange(len(weeks))[:, None] * np.ones(5)
    draws = rng.normal(mean, 50.0, (1, 400, len(weeks), 5))
    axes = ("chain", "draw", "week", "borough")
    labels = {"week": weeks.to_numpy(), "borough": list(BOROUGHS)}
    return xr.Dataset(dict.fromkeys(TARGETS, (axes, draws)), labels)


@pytest.fixture(scope="module")
def forecast(predicted):
    return forecast_rows(predicted, study)


def truth_of(forecast, quantile=0.5):
    rows = forecast[np.isclose(forecast["output_type_id"].astype(float), quantile)]
    return rows[["target", "target_end_date", "location", "value"]]


def test_the_declaration_is_short_and_its_tables_fit():
    assert len((FOLDER / "study.py").read_text().splitlines()) <= 250
    for declared in (study, october, december):
        data = load_data(declared)
        assert data.population.sum() == pytest.approx(8_336_817, abs=50)
        assert data.prior_cases is not None
        np.testing.assert_allclose(data.vaccination.sum(-1), 1.0, atol=1e-9)
    assert int(load_data(study).series["cases_borough"].loc["2021-12-25"].sum()) == 169_985
    assert study.part(epi.EscapingVariant) is not None
    assert october.part(epi.EscapingVariant) is None  # nobody knew of it


def test_no_table_holds_a_day_after_the_publication():
    assert date(2021, 12, 25) == FORECAST_FROM
    for file in (FOLDER / "data").glob("*.csv"):
        table = pd.read_csv(file)
        for column in {"date", "week_ending"} & set(table):
            assert table[column].max() <= str(FORECAST_FROM), file.name


def test_boosters_add_up_to_what_is_known_by_age():
    data = load_data(study)
    boosted = (data.vaccination[..., 3] * data.population).sum(0)
    assert boosted[study.ages.names.index("65-74")] == pytest.approx(332_224, rel=0.03)
    assert boosted.sum() == pytest.approx(1_765_564, rel=0.03)


def test_the_city_is_the_sum_of_its_boroughs_draw_by_draw(forecast, predicted):
    assert set(forecast["location"]) == {*BOROUGHS, CITY}
    assert sorted(forecast["horizon"].unique()) == list(range(1, 10))
    assert forecast["target_end_date"].max() == "2022-02-26"
    one = forecast[(forecast["location"] == CITY) & (forecast["horizon"] == 1) & (forecast["target"] == "cases")]
    total = predicted["cases_borough"].isel(week=5).sum("borough").to_numpy().ravel()
    np.testing.assert_allclose(one["value"].to_numpy(), np.quantile(total, HUB_LEVELS), rtol=1e-4)


def test_a_forecast_says_where_it_comes_from_and_reads_back(forecast, tmp_path):
    file = tmp_path / "forecast.csv"
    write_forecast(forecast, file, {"commit": "abc", "configuration": {"study": "nyc_omicron"}}, date(2022, 1, 1))
    head = file.read_text().splitlines()[:6]
    assert "# commit: abc" in head
    assert "# last day of data: 2021-12-29 (published 2022-01-01)" in head
    assert len(scoring.read_forecast(file)) == len(forecast)


def test_made_up_truth_is_scored(forecast):
    counts = pd.read_csv(scoring.COUNTS)
    right = scoring.score(forecast, truth_of(forecast), counts)
    assert set(right["places"]) == {"city", "boroughs"}
    assert set(right["horizons"]) == {"1-4", "5-9"}
    assert (right[["coverage_50", "coverage_95"]] == 1).all(axis=None)
    off = scoring.score(forecast, truth_of(forecast).assign(value=lambda t: 50 * t["value"]), counts)
    assert (off["coverage_95"] == 0).all()
    assert (off["wis"] > 20 * right["wis"]).all()
    # one week and one place, by hand: the score of an exact median is the mean of the intervals' weighted widths
    row = forecast[(forecast["target"] == "cases") & (forecast["location"] == "Bronx") & (forecast["horizon"] == 2)]
    values = row.sort_values("output_type_id")["value"].to_numpy(float)
    widths = values[::-1][:11] - values[:11]
    alpha = 2 * np.array(HUB_LEVELS[:11])
    one = scoring.score(row, truth_of(row), counts)
    assert float(one["wis"].iloc[0]) == pytest.approx(float((alpha / 2 * widths).sum() / 11.5), abs=2e-3)


def test_truth_that_the_fit_saw_is_refused(forecast, tmp_path):
    def refused(match, rows=None, **changes):
        file = tmp_path / "truth.csv"
        truth_of(forecast).iloc[:rows].assign(**changes).to_csv(file, index=False)
        with pytest.raises(DataError, match=match):
            scoring.read_truth(file, forecast)

    refused("week ending 2021-12-25, which the forecast was fitted to", target_end_date="2021-12-25")
    refused("location 'Kings'", location="Kings")
    refused("target 'rain'", target="rain")
    refused("no count", value=-1.0)
    refused("no week of the forecast", rows=1, target_end_date="2022-06-04")
    refused("a second time", target_end_date="2022-01-01")


def test_the_command_prints_one_sentence_and_leaves_with_code_2(forecast, tmp_path):
    write_forecast(forecast, tmp_path / "f.csv", {}, None)
    truth_of(forecast).assign(target_end_date=str(FORECAST_FROM)).to_csv(tmp_path / "t.csv", index=False)
    command = [sys.executable, "-m", "experiments.nyc_omicron.score", str(tmp_path / "f.csv"), str(tmp_path / "t.csv")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parents[1])
    assert done.returncode == 2
    assert "remove its rows" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_week_counts_from_its_first_whole_report():
    days = pd.date_range("2021-11-21", "2021-12-04")
    lasts = {
        "2021-11-26": "2021-11-23",
        "2021-12-03": "2021-11-30",
        "2021-12-10": "2021-12-04",
        "2021-12-17": "2021-12-04",
    }
    rows = [
        (published, day, "Citywide", 10 if published == "2021-12-17" else 8)
        for published, last in lasts.items()
        for day in days[days <= last]
    ]
    table = pd.DataFrame(rows, columns=["published", "date", "borough", "cases"])
    wide = weekly_vintages(table.assign(published=pd.to_datetime(table["published"])), "cases")
    assert wide["2021-11-27"].dropna().tolist() == [56, 56, 70]
    assert wide["2021-12-04"].dropna().tolist() == [56, 70]
    assert share_known(wide, 1)["known"].tolist() == pytest.approx([112 / 126, 1.0])


def test_the_committed_forecast_is_complete():
    rows = scoring.read_forecast(FOLDER / "results" / "forecast.csv")
    assert len(rows) == 9 * 3 * 6 * 23
    assert set(rows["reference_date"]) == {"2021-12-25"}
    assert min(pd.to_datetime(rows["target_end_date"])) == pd.Timestamp(FORECAST_FROM + timedelta(7))


@pytest.mark.slow
def test_a_smoke_run_forecasts_what_nobody_knows(tmp_path):
    """From tables to a forecast, its plots and a report, with no truth to score; minutes."""
    from epi.calibration import calibrate_study

    folder = calibrate_study("experiments.nyc_omicron.study", tmp_path / "run", smoke=True)
    assert folder is not None
    with xr.open_dataset(folder / "posterior.nc", group="posterior_predictive") as found:
        assert len(forecast_rows(found, study)) == 9 * 3 * 6 * 23
    assert (folder / "report.html").is_file()
    assert not (folder / "figures" / "scores.png").exists()
