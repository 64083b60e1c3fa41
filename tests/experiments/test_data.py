"""Every check of the tables: a copied table is damaged, and the sentence names file, place and remedy."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from epi.errors import DataError, StudyError
from tests.experiments import nz

SHIPPED = nz.study.data
READ = sorted(p.name for p in SHIPPED.glob("*.csv") if p.name not in ("policy.csv", "ages.csv"))
"""Tables that must be there; policy.csv is a source and ages.csv may be left out."""


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "figures")
    return tmp_path / "figures"


def damage(folder, name, change):
    """Rewrite a table after a change of its frame of text."""
    path = folder / name
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    changed = change(table)
    (table if changed is None else changed).to_csv(path, index=False)


def put(row, column, value):
    def change(table):
        table.loc[row, column] = value

    return change


def refused(folder):
    """The one sentence with which the folder is refused."""
    with pytest.raises(DataError) as caught:
        nz.tables(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert isinstance(caught.value, StudyError)
    return text


def test_shipped_data_load():
    epidemic_data = nz.tables()
    assert list(epidemic_data.series["cases_district"].columns) == list(nz.DISTRICTS)
    assert [str(w.date()) for w in epidemic_data.series["cases_district"].index[[0, -1]]] == [
        "2022-01-23",
        "2022-06-05",
    ]
    for frame in (
        epidemic_data.series["cases_age"],
        epidemic_data.series["admissions_age"],
        epidemic_data.series["deaths_age"],
    ):
        assert list(frame.columns) == list(nz.AGE_BANDS)
        assert frame.index.name == "week"
        assert (frame.dtypes == np.int64).all()
    assert epidemic_data.population.shape == (20, 8)
    assert epidemic_data.population.sum() == 5_204_640
    assert epidemic_data.vaccination.shape == (20, 8, 4)
    assert np.allclose(epidemic_data.vaccination.sum(-1), 1)
    assert epidemic_data.household_counts.sum() == 1_580_445
    assert (epidemic_data.household_types @ np.ones(8, int) * epidemic_data.household_counts).sum() == 4_187_691
    assert epidemic_data.work["employees"].sum() == pytest.approx(2_392_659, abs=20)


def test_shipped_data_agree_with_published_totals():
    epidemic_data = nz.tables()
    # Largest week of reported cases, and the Ministry's peak week of admissions.
    assert str(epidemic_data.series["cases_district"].sum(axis=1).idxmax().date()) == "2022-03-06"
    assert epidemic_data.series["admissions_age"].loc["2022-03-13"].sum() == 1110
    weeks = epidemic_data.series["cases_age"].index[1:]
    ratio = epidemic_data.series["cases_age"].loc[weeks].sum(axis=1) / epidemic_data.series["cases_district"].loc[
        weeks
    ].sum(axis=1)
    assert ratio.between(0.985, 1.001).all()
    linked = (
        pd.read_csv(SHIPPED / "cases_age.csv", parse_dates=["week_ending"]).groupby("week_ending")["admissions"].sum()
    )
    assert (epidemic_data.series["admissions_age"].sum(axis=1).loc[linked.index] - linked).abs().max() <= 7
    # Third doses by 8 February 2022: 1,705,778 people; the table's people are 2 % more than the official count.
    third = (epidemic_data.vaccination[..., 3] * epidemic_data.population).sum()
    assert third == pytest.approx(1_705_778, rel=0.035)


def test_every_table_has_a_source_and_a_licence():
    listed = json.loads((SHIPPED / "sources.json").read_text())
    tables = {path.name for path in SHIPPED.glob("*.csv")}
    assert set(listed["tables"]) == tables
    licence, readme = (SHIPPED / "LICENSE").read_text(), (SHIPPED / "README.md").read_text()
    for name, entry in listed["tables"].items():
        assert name in licence
        assert f"### {name}" in readme
        assert all(key in listed["sources"] for key in entry["sources"])
        header = (SHIPPED / name).read_text().splitlines()[0]
        assert f"`{header}`" in readme
    assert "licensed by Stats NZ for re-use" in " ".join(licence.split())


def test_tables_are_small():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 500_000


def test_own_folder_of_the_same_tables(folder):
    damage(folder, "cases_district.csv", put(0, "cases", "8"))
    assert nz.tables(folder).series["cases_district"].iloc[0, 0] == 8
    assert nz.tables(str(folder)).folder == folder


def test_folder_that_is_not_there(tmp_path):
    assert "was not found" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("name", READ)
def test_missing_file(folder, name):
    (folder / name).unlink()
    assert f"{name} was not found" in refused(folder)


@pytest.mark.parametrize("name", READ)
def test_missing_column(folder, name):
    others = {"admissions_age.csv": "admissions", "border_cohort.csv": "border_workers_per_1000"}
    column = others.get(name) or pd.read_csv(folder / name, nrows=1).columns[-1]
    damage(folder, name, lambda table: table.drop(columns=column))
    text = refused(folder)
    assert name in text
    assert repr(column) in text


@pytest.mark.parametrize(
    ("name", "column", "wrong"),
    [("cases_district.csv", "cases", "case"), ("population.csv", "70+", "70-79")],
)
def test_misspelt_column_is_suggested(folder, name, column, wrong):
    damage(folder, name, lambda table: table.rename(columns={column: wrong}))
    text = refused(folder)
    assert f"{name} has no column {column!r}" in text
    assert wrong in text


COUNTS = [
    ("cases_district.csv", "cases"),
    ("cases_age.csv", "deaths"),
    ("admissions_age.csv", "admissions"),
    ("population.csv", "20-29"),
    ("households.csv", "households"),
    ("schools.csv", "size"),
    ("work.csv", "employees"),
]


@pytest.mark.parametrize(("name", "column"), COUNTS)
@pytest.mark.parametrize("value", ["-3", "2.5", "", "many", "inf"])
def test_count_that_is_none(folder, name, column, value):
    damage(folder, name, put(4, column, value))
    text = refused(folder)
    assert f"{name}, line 6, column {column!r}" in text
    assert "whole number that is not negative" in text


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("occupancy.csv", "in_hospital", "-1"),
        ("wastewater.csv", "genome_copies_per_person_per_day", "x"),
        ("border_cohort.csv", "border_workers_per_1000", ""),
        ("vaccination.csv", "doses_0", "-0.1"),
        ("districts.csv", "latitude", "south"),
    ],
)
def test_number_that_is_none(folder, name, column, value):
    damage(folder, name, put(2, column, value))
    assert f"{name}, line 4, column {column!r}" in refused(folder)


WEEKLY = ["cases_district.csv", "cases_age.csv", "admissions_age.csv", "occupancy.csv"]


@pytest.mark.parametrize("age", ["5", "15", "0"])
def test_age_that_stands_elsewhere(folder, age):
    damage(folder, "ages.csv", put(2, "from_age", age))  # the band 10-19, whose rows are 10 and 15
    assert f"ages.csv, line {5 if age == '15' else 4}" in refused(folder)


def test_age_band_without_people(folder):
    damage(folder, "ages.csv", lambda table: table[table["age_band"] != "30-39"])
    assert "nobody in the age band 30-39" in refused(folder)


@pytest.mark.parametrize("name", [*WEEKLY, "wastewater.csv", "border_cohort.csv"])
def test_gap_in_the_weeks(folder, name):
    damage(folder, name, lambda table: table[table["week_ending"] != "2022-04-10"])
    text = refused(folder)
    assert f"{name} has no rows for the week ending 2022-04-10" in text


@pytest.mark.parametrize("name", WEEKLY)
@pytest.mark.parametrize(("value", "expected"), [("2022-02-07", "a Sunday"), ("7/2/2022", "YYYY-MM-DD"), ("", "text")])
def test_date_that_is_no_week(folder, name, value, expected):
    damage(folder, name, put(3, "week_ending", value))
    text = refused(folder)
    assert f"{name}, line 5, column 'week_ending'" in text
    assert expected in text


@pytest.mark.parametrize("name", WEEKLY)
def test_duplicate_row(folder, name):
    damage(folder, name, lambda table: pd.concat([table, table.iloc[[5]]]))
    text = refused(folder)
    assert f"{name}, line " in text
    assert "found a second row for" in text


def test_duplicate_row_of_a_regional_series(folder):
    damage(folder, "wastewater.csv", lambda table: pd.concat([table, table.iloc[[5]]]))
    assert "found a second row for a week and region" in refused(folder)


@pytest.mark.parametrize("name", WEEKLY)
def test_missing_row(folder, name):
    damage(folder, name, lambda table: table.drop(index=9))
    assert f"{name} has no row for" in refused(folder)


@pytest.mark.parametrize("name", ["cases_district.csv", "occupancy.csv", "population.csv", "schools.csv", "work.csv"])
def test_unknown_district(folder, name):
    damage(folder, name, put(1, "district", "Waitamata"))
    text = refused(folder)
    assert f"{name}, line 3, column 'district': found 'Waitamata', expected 'Waitemata'" in text


def test_unknown_district_unlike_any(folder):
    damage(folder, "cases_district.csv", put(1, "district", "Zzz"))
    assert "expected one of Northland, Waitemata" in refused(folder)


@pytest.mark.parametrize("name", ["cases_age.csv", "admissions_age.csv", "vaccination.csv"])
def test_unknown_age_band(folder, name):
    damage(folder, name, put(1, "age_band", "10-20"))
    assert f"{name}, line 3, column 'age_band': found '10-20'" in refused(folder)


@pytest.mark.parametrize("name", ["population.csv", "work.csv", "districts.csv"])
def test_district_order(folder, name):
    damage(folder, name, lambda table: table.iloc[::-1])
    assert f"{name}, line 2: found 'Southern', expected 'Northland'; order the rows" in refused(folder)


@pytest.mark.parametrize("name", ["population.csv", "work.csv", "districts.csv"])
def test_district_missing_or_twice(folder, name):
    whole = (folder / name).read_text()
    damage(folder, name, lambda table: table.iloc[:-1])
    assert f"{name} has no row for 'Southern'" in refused(folder)
    (folder / name).write_text(whole)
    damage(folder, name, lambda table: pd.concat([table, table.iloc[[2]]]))
    assert "2 rows for 'Auckland'" in refused(folder)


def test_vaccination_cell_missing(folder):
    damage(folder, "vaccination.csv", lambda table: table.drop(index=100))
    assert refused(folder).startswith("vaccination.csv, line 102: found")


def test_fractions_that_do_not_add_up(folder):
    damage(folder, "vaccination.csv", put(8, "doses_2", "0.9"))
    text = refused(folder)
    assert "vaccination.csv, line 10" in text
    assert "expected 1" in text


def test_districts_and_ages_of_different_epidemics(folder):
    def half(table):
        table["cases"] = (table["cases"].astype(int) // 2).astype(str)

    damage(folder, "cases_age.csv", half)
    text = refused(folder)
    assert "cases_district.csv counts" in text
    assert "cases_age.csv" in text


def test_no_common_weeks(folder):
    def later(table):
        week = pd.to_datetime(table["week_ending"]) + pd.to_timedelta(365 - 1, unit="D")
        table["week_ending"] = week.dt.strftime("%Y-%m-%d")

    damage(folder, "cases_age.csv", later)
    assert "no week in common" in refused(folder)


def test_cell_without_people(folder):
    damage(folder, "population.csv", put(3, "30-39", "0"))
    assert "population.csv, line 5, column '30-39': found 0 people" in refused(folder)


def test_household_type_without_members_or_twice(folder):
    whole = (folder / "households.csv").read_text()
    damage(folder, "households.csv", put(0, "70+", "0"))
    assert "households.csv, line 2: found a household type without members" in refused(folder)
    (folder / "households.csv").write_text(whole)
    damage(folder, "households.csv", lambda table: pd.concat([table, table.iloc[[0]]]))
    assert "listed before" in refused(folder)


@pytest.mark.parametrize(("column", "value"), [("age_min", "90"), ("schools", "0"), ("type", "college")])
def test_school_that_is_none(folder, column, value):
    damage(folder, "schools.csv", put(0, column, value))
    assert "schools.csv, line 2" in refused(folder)


def test_file_that_is_no_table(folder):
    (folder / "work.csv").write_text("")
    assert "work.csv is not a readable CSV table" in refused(folder)
    (folder / "work.csv").write_text("district,business_units,employees\n")
    assert "work.csv has no rows" in refused(folder)
