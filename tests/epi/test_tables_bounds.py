"""Tables of the made-up study with a value no table can hold, or a header that says one thing twice, are refused in one sentence."""

import shutil

import pandas as pd
import pytest

from epi.data import compare, load_data
from epi.errors import DataError
from experiments.nz_calibration.study import study as nz
from tests.made_up.study import study


def cell(table, line, column, value):
    """Change one cell of a table."""

    def change(folder):
        rows = [row.split(",") for row in (folder / table).read_text().splitlines()]
        rows[line - 1][rows[0].index(column)] = value
        (folder / table).write_text("\n".join(",".join(row) for row in rows) + "\n")

    return change


def repeated_header(table, column):
    """A second column of one name."""

    def change(folder):
        lines = (folder / table).read_text().splitlines()
        at = lines[0].split(",").index(column)
        (folder / table).write_text("\n".join(f"{row},{row.split(',')[at]}" for row in lines) + "\n")

    return change


def row_twice(table):
    """The last row once more."""

    def change(folder):
        text = (folder / table).read_text()
        (folder / table).write_text(text + text.splitlines()[-1] + "\n")

    return change


CHANGES = {
    "count wraps": (cell("cases_county.csv", 2, "cases", "1e19"), "cases_county.csv, line 2, column 'cases'"),
    "people wrap": (cell("population.csv", 2, "0-19", "1e19"), "population.csv, line 2"),
    "cases over people": (cell("cases_county.csv", 2, "cases", "10000000"), "expected at most the 11,000 people"),
    "admissions over people": (
        cell("admissions_age.csv", 2, "admissions", "20000"),
        "expected at most the 4,100 people",
    ),
    "pupils over people": (cell("schools.csv", 2, "size", "9000"), "expected at most the 11,000 people"),
    "employees over people": (cell("work.csv", 2, "employees", "11001"), "expected at most the 11,000 people"),
    "household of a million": (
        cell("households.csv", 5, "0-19", "1000000"),
        "households.csv, line 5: found a household of",
    ),
    "school of ages 150": (cell("schools.csv", 2, "age_max", "150"), "from 0 to 120"),
    "header twice": (repeated_header("cases_county.csv", "cases"), "has the column 'cases' more than once"),
    "population header twice": (repeated_header("population.csv", "0-19"), "has the column '0-19' more than once"),
    "row of cases twice": (row_twice("cases_county.csv"), "second row"),
    "row of population twice": (row_twice("population.csv"), "2 rows for 'South'"),
    "400 digits": (cell("work.csv", 2, "employees", "9" * 400), "work.csv, line 2"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_refused_in_one_sentence(tmp_path, name):
    change, message = CHANGES[name]
    folder = shutil.copytree(study.data, tmp_path / "data")
    load_data(study, folder)
    change(folder)
    with pytest.raises(DataError) as found:
        load_data(study, folder)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_doses_over_people_are_refused():
    """Of a campaign by age: a fifth over the people of an age is what registers and censuses differ by."""
    data = load_data(nz)
    compare.venues(nz, data.schools, data.work, data.campaign_doses, data.population)
    with pytest.raises(DataError, match=r"third_doses.csv has .* doses for '.*', expected at most 1.2 times the"):
        compare.venues(nz, None, None, data.campaign_doses * 10, data.population)


@pytest.mark.parametrize("years", [-1, 1])
def test_doses_of_another_year_are_refused(tmp_path, years):
    folder = shutil.copytree(nz.data, tmp_path / "data")
    table = pd.read_csv(folder / "third_doses.csv")
    day = pd.to_datetime(table["date"]) + pd.DateOffset(years=years)
    table.assign(date=day.dt.strftime("%Y-%m-%d")).to_csv(folder / "third_doses.csv", index=False)
    with pytest.raises(DataError, match="expected the register from 2022-02-08 to 2022-03-08"):
        load_data(nz, folder)
