"""The command line and the public package, on the study that `posterity new` writes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import posterity
from posterity._packages import claim_packages
from tests.posterity.conftest import run

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def place(new_study, tmp_path):
    """A copy of the folder of a user with a new study and its finished run."""
    return shutil.copytree(new_study[0], tmp_path / "user")


def test_help_lists_commands_and_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from posterity._app import build; build([]); print('torch' in sys.modules, 'epi' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["False", "False"]
    for flag in ("--help", "-h"):
        text = run(flag, cwd=tmp_path)
        assert text.returncode == 0
        assert "calibrate" in text.stdout
    wrong = run("calibrat", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "calibrate" in wrong.stderr


def test_a_new_study_is_valid(place):
    found = run("validate", "my_study", cwd=place)
    assert found.returncode == 0, found.stderr
    assert "fit together" in found.stdout
    assert run("validate", "my_study", "--data", "my_study/data", cwd=place).returncode == 0
    second = run("new", "my_study", cwd=place)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    (place / "other" / "data").mkdir(parents=True)
    broken = run("validate", "my_study", "--data", "other/data", cwd=place)
    assert broken.returncode == 2
    assert "Traceback" not in broken.stderr


def test_a_new_study_is_calibrated_at_once_whatever_is_called_sim(new_study):
    place, said = new_study
    folder = place / "run"
    assert "imported" in (place / "sim.py").read_text()
    assert said["status"] == "complete"
    assert (folder / "report.html").stat().st_size > 10_000
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["study"] == "my_study"


def test_commands_on_a_finished_run(place):
    folder = place / "run"
    shown = run("forecast", "run", "--json", cwd=place)
    assert shown.returncode == 0, shown.stderr
    rows = json.loads(shown.stdout)["rows"]
    assert all(r["low_95"] <= r["median"] <= r["high_95"] for r in rows)
    compared = run("compare", "run", "run", cwd=place)
    assert compared.returncode == 0, compared.stderr
    assert "0 of " in compared.stdout
    assert run("verify", "run", cwd=place).returncode == 0
    (folder / "scores.json").write_text((folder / "scores.json").read_text() + " ")
    changed = run("verify", "run", cwd=place)
    assert changed.returncode == 1
    assert "changed: scores.json" in changed.stdout
    absent = run("report", "nowhere", cwd=place)
    assert absent.returncode == 2
    assert "Traceback" not in absent.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ask", "hello"), "Missing option '--from'; "),
        (("calibrate",), "Missing argument 'study'; "),
        (("calibrate", "my_study", "--scale", "x"), "Invalid value for '--scale': "),
        (("calibrate", "my_study", "--sede", "1"), "No such option: --sede"),
        (("calibrat",), "No such command 'calibrat'"),
    ],
)
def test_wrong_use_is_one_sentence(arguments, said, tmp_path):
    found = run(*arguments, cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith(said)
    assert found.stderr.count("\n") == 1
    assert found.stderr.endswith("--help' lists what it takes.\n")


def test_derivatives_are_checked_in_the_report_of_a_ranking(place):
    found = run("sensitivity", "run", "--smoke", "--levels", "1", "--check", "--scale", "0.05", cwd=place)
    assert found.returncode == 0, found.stderr
    assert "Derivatives per prior standard deviation" in (place / "run" / "sensitivity" / "report.html").read_text()


def test_whether_a_run_can_be_believed_is_said_at_once(place):
    found = run("ask", "can the calibration be believed?", "--plain", "--from", "run", cwd=place)
    assert found.returncode == 0, found.stderr
    first = found.stdout.splitlines()[0]
    assert re.match(
        r"(No: \d+ of \d+ checks failed|With care: none of \d+ checks failed, but \d+ warned), and this is a smoke run",
        first,
    )
    assert first.endswith("Run it again without --smoke before a number of it is used.")


def test_the_public_package(new_study):
    assert set(posterity.__all__) <= set(dir(posterity))
    opened = posterity.open_run(new_study[0] / "run")
    assert opened.status == "complete"
    assert len(opened.forecast.table)
    assert opened.forecast.plot().axes
    with pytest.raises(AttributeError, match="it has Calibration"):
        posterity.nothing  # noqa: B018


def test_simulate_draws_of_the_prior():
    simulated = posterity.Study.load("posterity.template.study").simulate(scale=0.2, draws=3)
    assert simulated["cases_county"].shape == (3, 11, 2)
    assert float(simulated["cases_county"].min()) >= 0


def test_a_foreign_package_gives_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ode", type(sys)("ode"))
    with pytest.raises(ImportError, match="another project's of the same name"):
        claim_packages()
    monkeypatch.delitem(sys.modules, "ode")
    with pytest.raises(ImportError, match="is missing"):
        claim_packages(tmp_path)
