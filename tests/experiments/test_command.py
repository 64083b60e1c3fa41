"""The command line: what cannot be used ends in one sentence and exit code 2, and leaves everything as it was."""

import shutil

import pandas as pd
import pytest
import torch

from tests.experiments import nz
from tests.experiments.conftest import TINY, command


def content(folder):
    """Every file with its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(*arguments):
    """Run, and return the one sentence with which it ended."""
    result = command(*arguments)
    assert result.code == 2, result.stderr
    assert "Traceback" not in result.stderr
    sentence = result.last
    assert sentence.endswith(".")
    assert ". " not in sentence
    assert result.lines.count(sentence) == 1
    return sentence, result.lines


def refused_at_once(output, *arguments):
    """As `refused`, by a command that said nothing else and made no folder."""
    sentence, lines = refused(*arguments, "--output", output)
    assert lines == [sentence]
    assert not output.exists()
    return sentence


# -- settings


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--scale", "0"], ["scale = 0.0", "greater than 0"]),
        (["--scale", "1.5"], ["scale = 1.5", "less than or equal to 1"]),
        (["--scale", "-0.1"], ["scale = -0.1", "greater than 0"]),
        (["--scale", "nan"], ["scale = nan", "equal to 1"]),
        (["--balance", "2"], ["balance = 2.0", "less than or equal to 1"]),
        (["--device", "tpu"], ["'tpu'", "choose auto, cpu or cuda"]),
        (["--flow", "planar"], ["'planar'", "choose one of gaussian,"]),
        (["--flow", "maf"], ["'maf'", "choose gaussian or gaussian-nsf, or --warm-start 0"]),
        (["--gradient", "sideways"], ["gradient = 'sideways'", "'reverse' or 'forward'"]),
        (["--particles", "1"], ["particles = 1", "greater than or equal to 2"]),
        (["--draws", "3"], ["draws = 3", "greater than or equal to 10"]),
        (["--max-seconds", "0"], ["max_seconds = 0", "greater than 0"]),
        (["--max-steps", "0"], ["max_steps = 0", "greater than or equal to 1"]),
        (["--learning-rate", "-1"], ["learning_rate = -1", "greater than 0"]),
        (["--seed", "-1"], ["seed = -1", "greater than or equal to 0"]),
        (["--data", "no/such/folder"], ["no/such/folder was not found", "give a folder"]),
    ],
)
def test_settings_out_of_range(tmp_path, arguments, expected):
    sentence = refused_at_once(tmp_path / "run", *TINY, *arguments)
    for word in expected:
        assert word in sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there(tmp_path):
    sentence = refused_at_once(tmp_path / "run", *TINY, "--device", "cuda")
    assert "no usable GPU" in sentence
    assert "--device cpu" in sentence


def test_an_option_that_is_not_there_is_named(tmp_path):
    result = command(*TINY, "--gradiant", "reverse", "--output", tmp_path / "run")
    assert result.code == 2
    assert "--gradiant" in result.stderr
    assert not (tmp_path / "run").exists()


# -- observations


@pytest.fixture
def tables(epidemic_data, tmp_path):
    """A copy of the study's tables to damage."""
    return shutil.copytree(epidemic_data.folder, tmp_path / "tables")


def change(folder, name, edit):
    table = pd.read_csv(folder / name, dtype=str)
    edit(table).to_csv(folder / name, index=False)


def put(row, column, value):
    def edit(table):
        table.loc[row, column] = value
        return table

    return edit


def without_week(week):
    return lambda table: table[table["week_ending"] != week]


DAMAGES = {
    "missing column": (
        "cases_district.csv", lambda t: t.drop(columns="cases"), ["cases_district.csv", "no column 'cases'", "add it"]
    ),
    "misspelt column": (
        "cases_age.csv", lambda t: t.rename(columns={"deaths": "deatsh"}),
        ["cases_age.csv", "no column 'deaths'", "rename column 'deatsh'"],
    ),
    "negative count": (
        "cases_district.csv", put(4, "cases", "-3"),
        ["cases_district.csv, line 6, column 'cases'", "found -3", "not negative", "correct it"],
    ),
    "count that is not whole": (
        "admissions_age.csv", put(10, "admissions", "2.5"), ["admissions_age.csv, line 12", "found 2.5", "whole number"]
    ),
    "count that is no number": (
        "cases_age.csv", put(0, "cases", "many"), ["cases_age.csv, line 2", "'many'", "whole number"]
    ),
    "gap in the weeks": (
        "cases_district.csv", without_week("2022-03-06"), ["cases_district.csv", "week ending 2022-03-06", "add that week"]
    ),
    "unknown district": (
        "cases_district.csv", put(1, "district", "Waitamata"), ["line 3", "found 'Waitamata'", "expected 'Waitemata'"]
    ),
    "unknown district in another table": (
        "population.csv", put(2, "district", "Gondor"), ["population.csv, line 4", "'Gondor'"]
    ),
    "doses that do not add up": (
        "vaccination.csv", put(0, "doses_0", "0.1"), ["vaccination.csv, line 2", "expected 1", "correct"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tables(tmp_path, tables, damage):
    name, edit, expected = DAMAGES[damage]
    change(tables, name, edit)
    before = content(tables)
    sentence = refused_at_once(tmp_path / "run", *TINY, "--data", tables)
    for word in expected:
        assert word in sentence
    assert content(tables) == before


def test_a_table_that_is_not_there(tmp_path, tables):
    (tables / "work.csv").unlink()
    sentence = refused_at_once(tmp_path / "run", *TINY, "--data", tables)
    assert "work.csv was not found" in sentence


@pytest.mark.parametrize(("drop", "missing"), [("first", "2022-02-06"), ("last", str(nz.LAST_WEEK))])
def test_tables_that_begin_late_or_end_early_are_not_filled_with_zeros(tmp_path, tables, drop, missing):
    def edit(table):
        return table[table["week_ending"] > missing] if drop == "first" else table[table["week_ending"] < missing]

    change(tables, "admissions_age.csv", edit)
    sentence = refused_at_once(tmp_path / "run", *TINY, "--data", tables)
    assert "admissions_age.csv covers the weeks ending" in sentence
    assert f"add the week ending {missing}" in sentence


# -- folders


def test_a_folder_that_is_not_a_run(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    before = content(tmp_path)
    sentence, lines = refused(*TINY, "--output", tmp_path)
    assert lines == [sentence]
    assert "not the folder of a run" in sentence
    assert "name an empty or a new folder" in sentence
    assert content(tmp_path) == before


def test_a_file_where_a_folder_should_be(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    sentence, _ = refused(*TINY, "--output", file)
    assert "is a file" in sentence
    assert file.read_text() == "mine"
