"""A folder that holds a run: what cannot be used ends in one sentence and exit code 2, and leaves everything as it was."""

import json
import shutil

import arviz as az
import numpy as np
import pandas as pd
import pytest

from calib import without_missing
from calib.multifidelity import WARM_START_FILE, allowed_threads
from tests.conftest import NEW_STUDY
from tests.posterity.conftest import run

WARM_START = f"{WARM_START_FILE}.safetensors"


def content(folder):
    """Every file with its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def refused(calibrate):
    """Calibrate, and return the one sentence with which it ended, and all lines."""

    def ended(*arguments):
        result = calibrate(*arguments)
        assert result.returncode == 2, result.stderr
        assert "Traceback" not in result.stderr
        sentence = result.last
        assert sentence.endswith(".")
        assert ". " not in sentence
        assert result.lines.count(sentence) == 1
        return sentence, result.lines

    return ended


@pytest.fixture
def tables(new_study, tmp_path):
    """A copy of the study's tables to damage."""
    return shutil.copytree(new_study[0] / "my_study" / "data", tmp_path / "tables")


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_folder_that_holds_another_run(finished, resume, refused):
    before = content(finished)
    sentence, lines = refused("--seed", "7", *resume, "--output", finished)
    assert lines == [sentence]
    assert "holds another run (seed = 0 there and 7 here" in sentence
    assert "name another output folder" in sentence
    assert content(finished) == before


def test_the_same_run_again(finished, refused):
    before = content(finished)
    sentence, lines = refused("--output", finished)
    assert lines == [sentence]
    assert "holds this run already (status complete" in sentence
    assert "resume it, name another output folder, or remove" in sentence
    assert content(finished) == before


def test_threads_are_part_of_a_run_and_kept_when_it_is_resumed(tmp_path, finished, refused):
    sentence, _ = refused("--threads", "3", "--output", finished)
    assert "holds another run (threads = 1 there and 3 here" in sentence
    folder = shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["configuration"]["threads"] = 1 + allowed_threads()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    without = NEW_STUDY[: NEW_STUDY.index("--threads")]
    result = run("calibrate", "my_study", *without, "--output", folder, cwd=finished.parent)
    assert result.returncode == 2
    assert "holds this run already" in result.last


def test_a_damaged_manifest(tmp_path, finished, refused):
    folder = shutil.copytree(finished, tmp_path / "run")
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text[: len(text) // 2])
    before = content(folder)
    sentence, lines = refused("--resume", "--output", folder)
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
def test_damaged_work_of_a_killed_run(tmp_path, finished, name, damage, refused):
    folder = shutil.copytree(finished, tmp_path / "run")
    damage(folder / name)
    before = content(folder)
    sentence, _ = refused("--resume", "--output", folder)
    assert str(folder / name) in sentence
    assert "damaged" in sentence
    assert "remove it" in sentence or "move it away" in sentence
    assert content(folder) == before  # the finished run stays what it was, its manifest too


def test_work_made_from_other_data_is_refused(tmp_path, finished, tables, refused):
    """A run is resumed after its tables were edited: the warm start no longer belongs to them."""
    folder = shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["configuration"]["data"] = str(tables)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    cases = pd.read_csv(tables / "cases_county.csv", dtype=str)
    cases.loc[4, "cases"] = "12"
    cases.to_csv(tables / "cases_county.csv", index=False)
    kept = (folder / WARM_START).read_bytes()
    sentence, _ = refused("--resume", "--output", folder, "--data", tables)
    assert WARM_START in sentence
    assert "made from other data" in sentence
    assert (folder / WARM_START).read_bytes() == kept


def test_a_first_attempt_that_failed_does_not_bar_the_second(tmp_path, tables, finished, refused):
    """With the tables mended the same command is accepted: the failed attempt left nothing in its way."""
    whole = (tables / "work.csv").read_bytes()
    (tables / "work.csv").write_bytes(whole.replace(b"employees", b"employes"))
    arguments = ("--data", tables)
    sentence, _ = refused(*arguments, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()
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
    assert {p.name for p in finished.rglob(".*")} <= {".lock", ".manifest.sha256"}


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
    cases = tree.posterior_predictive["cases_county"]
    assert cases.dims == ("chain", "draw", "replicate", "week", "county")
    assert cases["week"].dtype.kind == "M"
    assert cases.attrs["units"] == "cases"
    assert tree.posterior["transmission_community"].attrs["units"] == "per infection"
    assert int(tree.sample_stats["diverging"].sum()) == manifest["sampler"]["divergent"]
    assert np.isfinite(az.bfmi(tree)).all()
    for name, values in tree.log_likelihood.data_vars.items():
        in_likelihood = tree.constant_data[f"in_likelihood_{name}"].to_numpy()
        assert 0 < in_likelihood.sum() < in_likelihood.size
        np.testing.assert_array_equal(np.isfinite(values).all(("chain", "draw")), in_likelihood)
        np.testing.assert_array_equal(np.isfinite(values).any(("chain", "draw")), in_likelihood)
    assert np.isfinite(az.loo(without_missing(tree), var_name="admissions_age").elpd_loo)
