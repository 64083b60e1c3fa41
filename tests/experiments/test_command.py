"""The command line: what cannot be used ends in one sentence and exit code 2, and leaves everything as it was."""

import json
import shutil

import arviz as az
import numpy as np
import pandas as pd
import pytest
import torch

from calib import without_missing
from calib.multifidelity import WARM_START_FILE, allowed_threads
from tests.experiments import nz
from tests.experiments.conftest import TINY, command

WARM_START = f"{WARM_START_FILE}.safetensors"


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
    ("arguments", "words"),
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
def test_settings_out_of_range(tmp_path, arguments, words):
    sentence = refused_at_once(tmp_path / "run", *TINY, *arguments)
    for word in words:
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
    name, edit, words = DAMAGES[damage]
    change(tables, name, edit)
    before = content(tables)
    sentence = refused_at_once(tmp_path / "run", *TINY, "--data", tables)
    for word in words:
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


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_folder_that_holds_another_run(finished, resume):
    before = content(finished)
    sentence, lines = refused(*TINY, "--seed", "7", *resume, "--output", finished)
    assert lines == [sentence]
    assert "holds another run (seed = 0 there and 7 here" in sentence
    assert "name another output folder" in sentence
    assert content(finished) == before


def test_the_same_run_again(finished):
    before = content(finished)
    sentence, lines = refused(*TINY, "--output", finished)
    assert lines == [sentence]
    assert "holds this run already (status complete" in sentence
    assert "resume it, name another output folder, or remove" in sentence
    assert content(finished) == before


def test_threads_are_part_of_a_run_and_kept_when_it_is_resumed(tmp_path, finished):
    sentence, _ = refused(*TINY, "--threads", "3", "--output", finished)
    assert "holds another run (threads = 1 there and 3 here" in sentence
    folder = shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["configuration"]["threads"] = 1 + allowed_threads()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    sentence, _ = refused(*TINY[: TINY.index("--threads")], "--output", folder)
    assert "holds this run already" in sentence


def test_a_damaged_manifest(tmp_path, finished):
    folder = shutil.copytree(finished, tmp_path / "run")
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text[: len(text) // 2])
    before = content(folder)
    sentence, lines = refused(*TINY, "--resume", "--output", folder)
    assert lines == [sentence]
    assert "manifest.json is damaged" in sentence
    assert content(folder) == before


# -- what a killed run left


def cut_short(file):
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def emptied(file):
    file.write_bytes(b"")


def one_byte_changed(file):
    whole = bytearray(file.read_bytes())
    whole[-9] ^= 255
    file.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("checkpoint.safetensors", one_byte_changed), (WARM_START, cut_short),
        # each resumes a run up to the damage; `tests/calib` reads files damaged in each way
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (
            ("checkpoint.safetensors", cut_short), ("checkpoint.safetensors", emptied), (WARM_START, emptied),
            (WARM_START, one_byte_changed),
        )),
    ],
)  # fmt: skip
def test_damaged_work_of_a_killed_run(tmp_path, finished, name, damage):
    folder = shutil.copytree(finished, tmp_path / "run")
    damage(folder / name)
    before = content(folder)
    sentence, _ = refused(*TINY, "--resume", "--output", folder)
    assert str(folder / name) in sentence
    assert "damaged" in sentence
    assert "remove it" in sentence or "move it away" in sentence
    assert content(folder) == before  # the finished run stays what it was, its manifest too


def test_work_made_from_other_data_is_refused(tmp_path, finished, tables):
    """A run is resumed after its tables were edited: the warm start no longer belongs to them."""
    folder = shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["configuration"]["data"] = str(tables)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    change(tables, "cases_district.csv", put(4, "cases", "12"))
    kept = (folder / WARM_START).read_bytes()
    sentence, _ = refused(*TINY, "--resume", "--output", folder, "--data", tables)
    assert WARM_START in sentence
    assert "made from other data" in sentence
    assert (folder / WARM_START).read_bytes() == kept


def test_a_first_attempt_that_failed_does_not_bar_the_second(tmp_path, tables, finished):
    """With the tables mended the same command is accepted: the failed attempt left nothing in its way."""
    whole = (tables / "work.csv").read_bytes()
    (tables / "work.csv").write_bytes(whole.replace(b"employees", b"employes"))
    arguments = (*TINY, "--data", tables)
    sentence = refused_at_once(tmp_path / "run", *arguments)
    assert "rename column 'employes'" in sentence
    (tables / "work.csv").write_bytes(whole)
    # the folder is free: another output that holds a run is the only thing that can now be wrong
    sentence, _ = refused(*arguments, "--output", finished)
    assert "holds another run (data = None there" in sentence


def test_the_finished_run_says_what_was_asked(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["error"] is None
    assert manifest["simulations"]["forecast"] == 10
    assert manifest["sensitivity_simulations"] == 0
    assert manifest["simulations"]["fit"] == 0  # by the emulator: what the warm start simulated is all
    assert manifest["simulations"]["warm_start"] > 0
    names = [
        "posterior.nc",
        "jacobian.nc",
        "forecast.csv",
        "scores.json",
        "sensitivity.csv",
        "report.html",
        "history.csv",
    ]
    for name in names:
        assert (finished / name).stat().st_size > 0, name
    assert {p.name for p in finished.rglob(".*")} <= {".lock"}


def test_the_posterior_file_of_a_run_holds_chains_dates_and_gaps(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    tree = az.from_netcdf(str(finished / "posterior.nc"))
    chains = manifest["sampler"]["chains"]
    assert tree.posterior.sizes["chain"] == chains == 64
    assert tree.posterior.sizes["draw"] * chains == manifest["sampler"]["draws"]
    assert tree.forecast_draws.sizes["draw"] == manifest["simulations"]["forecast"]
    # of the parameters alone, where the manifest's is of the shared errors too, on a scale of its own
    found = az.rhat(tree).to_array().max()
    assert 1.0 < float(found) < 1.1 * manifest["sampler"]["r_hat"]
    cases = tree.posterior_predictive["cases_district"]
    assert cases.dims == ("chain", "draw", "replicate", "week", "district")
    assert cases["week"].dtype.kind == "M"
    assert cases.attrs["units"] == "cases"
    assert tree.posterior["transmission_community"].attrs["units"] == "per infection"
    assert int(tree.sample_stats["diverging"].sum()) == manifest["sampler"]["divergent"]
    assert np.isfinite(az.bfmi(tree)).all()
    for name, values in tree.log_likelihood.data_vars.items():
        in_likelihood = tree.constant_data[f"in_likelihood_{name}"].to_numpy()
        np.testing.assert_array_equal(np.isfinite(values).all(("chain", "draw")), in_likelihood)
        np.testing.assert_array_equal(np.isfinite(values).any(("chain", "draw")), in_likelihood)
    assert np.isfinite(az.loo(without_missing(tree), var_name="admissions_age").elpd_loo)
