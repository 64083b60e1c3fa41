"""Commands that ask a finished run, on the run of a new study: what they print and write, and what they refuse."""

import io
import json
import shutil

import pandas as pd
import pytest

import posterity
from epi import StudyError
from posterity._studies import shipped
from tests.posterity.conftest import run

SURVEY = ("--first", "2030-04-10", "--last", "2030-04-16", "--draws", "4", "--scale", "0.1")


SCENARIOS = """
from dataclasses import replace

import epi
from epi.scenarios.changed_study import ChangedStudy


def shorter(study):
    return replace(study, disease=epi.NaturalHistory(latent=epi.Gamma(2.5, 1.2), infectious=epi.Gamma(3.0, 1.5)))


SCENARIOS = (ChangedStudy("isolation", "People isolate after three days", shorter, carries="Days.", leaves_out="Homes."),)
"""
"""A file for `--add`."""


@pytest.fixture
def ask(finished):
    """A command about the finished run, in the folder that holds it."""
    return lambda name, *arguments: run(name, "run", *arguments, cwd=finished.parent)


def test_the_shipped_studies_are_listed_and_misspelt_ones_found(tmp_path):
    found = run("studies", cwd=tmp_path)
    assert found.returncode == 0
    assert [line.split()[0] for line in found.stdout.splitlines()] == list(shipped())
    wrong = run("validate", "nz_calibratoin", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "did you mean 'nz_calibration'?" in wrong.last


def test_a_survey_of_antibodies_is_predicted(ask, tmp_path):
    printed = ask("serosurvey", *SURVEY, "--ages", "20+,all", "--sensitivity", "0.9", "--specificity", "0.99")
    assert printed.returncode == 0, printed.stderr
    table = pd.read_csv(io.StringIO(printed.stdout), sep=r"\s{2,}", engine="python")
    assert len(table) > 0
    file = tmp_path / "new" / "surveys.csv"
    weekly = ("--first", "2030-04-06", "--last", "2030-04-19", "--weekly", "--half-life", "200", "--people", "300")
    written = ask("serosurvey", *SURVEY[4:], *weekly, "--output", file)
    assert written.returncode == 0, written.stderr
    table = pd.read_csv(file)
    assert f"{len(table):,} rows in" in written.last
    assert table["value"].between(0, 100).all()
    ever = table[(table["quantity"] == "ever_infected") & (table["quantile"] == 0.5)]
    assert ever["first_sample"].nunique() == 2
    for _, rows in ever.groupby("area"):
        assert rows.sort_values("first_sample")["value"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--first", "tomorrow", "--last", "2030-04-16"), "'tomorrow' is no date, expected YYYY-MM-DD"),
        ((*SURVEY, "--ages", "40-20"), "age group '40-20' cannot be read; write 18+, 0-17 or all"),
        ((*SURVEY, "--sensitivity", "0.9", "--sensitivity", "0.8", "--specificity", "0.99"), "give both for each test"),
    ],
)
def test_a_survey_that_cannot_be_is_refused(ask, arguments, said):
    found = ask("serosurvey", *arguments)
    assert found.returncode == 2
    assert said in found.last
    assert len(found.lines) == 1


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("forecast", ("--target", "deaths"), "'deaths' was asked for; choose one of them"),
        ("forecast", ("--place", "Springfield"), "has no place 'Springfield'; choose among North, South"),
        ("scenario", (), "has no scenarios; write SCENARIOS in a scenarios.py in its folder, or give a file with --add"),
        ("sensitivity", ("--levels", "9", "--output", "OUT"), "Level '9'"),
        ("allocate-doses", ("--minimise", "cases", "--output", "OUT"), "choose admissions or deaths"),
        ("allocate-doses", ("--until", "then", "--output", "OUT"), "'then'"),
        ("allocate-doses", ("--draws", "2", "--judges", "4", "--scale", "0.05", "--output", "OUT"), "doses"),
        ("allocate-restrictions", ("--until", "2030-05-26", "--output", "OUT"), "choose a Saturday not before 2030-05-25"),
        ("allocate-restrictions", ("--competitor", "luck", "--output", "OUT"), "There is no competitor 'luck'"),
        ("report", ("--nothing",), "--nothing"),
    ],
)  # fmt: skip
def test_what_a_run_does_not_hold_is_refused(ask, tmp_path, command, arguments, said):
    found = ask(command, *(tmp_path / "out" if a == "OUT" else a for a in arguments))
    assert found.returncode == 2, found.stderr
    assert said in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "out").exists()


def test_the_page_of_verdicts_is_printed_and_a_failed_check_is_an_exit_code(ask, tmp_path):
    (tmp_path / "page").mkdir()
    found = ask("check", "--output", tmp_path / "page", "--json", "--strict")
    assert json.loads(found.stdout) == json.loads((tmp_path / "page" / "check.json").read_text())
    judged = {v["word"] for v in json.loads(found.stdout)["verdicts"]}
    assert found.returncode == (1 if "fail" in judged else 0)
    assert (tmp_path / "page" / "check.html").stat().st_size > 1000


def test_two_runs_are_compared_only_if_of_one_study(finished, tmp_path):
    other = shutil.copytree(finished, tmp_path / "other")
    (other / ".manifest.sha256").unlink()
    manifest = json.loads((finished / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"study": "measles"}))
    found = run("compare", finished, other, cwd=tmp_path)
    assert found.returncode == 2
    assert "of 'measles'; compare runs of one study" in found.last
    same = run("compare", finished, finished, "--json", cwd=tmp_path)
    tables = json.loads(same.stdout)
    assert {row["difference"] for row in tables["parameters"]} == {0.0}
    assert all(row["first"] == row["second"] for row in tables["scores"])


def test_settings_from_a_file(finished, calibrate, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("seed = 7\n")
    found = calibrate("--settings", file, "--output", finished)
    assert found.returncode == 2
    assert "holds another run (seed = 0 there and 7 here" in found.last
    found = calibrate("--settings", file, "--seed", "0", "--output", finished)
    assert "holds this run already" in found.last  # an option given wins
    file.write_text("seed 7\n")
    found = calibrate("--settings", file, "--output", tmp_path / "out")
    assert found.returncode == 2
    assert "is not TOML" in found.last
    assert "write one `name = value` a line" in found.last
    file.write_text("sede = 7\n")
    found = calibrate("--settings", file, "--output", tmp_path / "out")
    assert found.returncode == 2
    assert "sede" in found.last
    assert not (tmp_path / "out").exists()


def test_a_new_study_needs_a_name_and_an_empty_folder(tmp_path):
    assert "'my-study' cannot name a study" in run("new", "my-study", cwd=tmp_path).last
    (tmp_path / "taken").write_text("mine")
    assert "exists and is not empty" in run("new", "taken", cwd=tmp_path).last
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_run_as_an_object_refuses_what_it_lacks(finished):
    opened = posterity.open_run(finished)
    output = opened.files.sensitivity["output"].iloc[0]
    assert len(opened.sensitivity(output).table)
    with pytest.raises(StudyError, match=f"did you mean {output!r}"):
        opened.sensitivity(output + "s")
    with pytest.raises(StudyError, match="has no scenarios"):
        opened.scenario("what-now")
    assert opened.check().strip()
    assert opened.map("attack_rate").axes
    with pytest.raises(StudyError, match="rain"):
        opened.map("rain")
    assert set(opened.scores) == {"cases_county", "admissions_age"}
    assert opened.posterior.sizes["chain"] == 64


def test_a_scenario_of_a_file_is_listed_and_refused_in_a_sentence(ask, finished, tmp_path):
    file, out = tmp_path / "mine.py", tmp_path / "out"
    file.write_text(SCENARIOS)
    listed = ask("scenario", "--add", file, "--list")
    assert listed.stdout.split()[0] == "isolation"
    for wrong, said in (
        (("--region", "Springfield"), "There is no county 'Springfield'; choose among North, South"),
        (("--worlds", "apart"), "Worlds 'apart' were asked for; choose auto, looped or together"),
        (("--question", "what-now"), "what-now"),
        (("--draws", "900"), "900"),
    ):
        refused = ask("scenario", "--add", file, "--output", out, *wrong)
        assert refused.returncode == 2
        assert said in refused.last
        assert not out.exists()
    without = ask("scenario", "--add", file, "--output", out, "--draws", "4")
    assert without.returncode == 2
    assert "has no stream Deaths, which is needed here; add one" in without.last
    with pytest.raises(StudyError, match="has no stream Deaths"):
        posterity.open_run(finished).scenario("isolation", draws=4, add=file)


def test_sensitivity_by_derivatives_and_their_check(ask, tmp_path):
    """Levels 1 and 2 with differences, and level 3, to the report."""
    out = tmp_path / "out"
    given = ("--smoke", "--scale", "0.1", "--workers", "1", "--of", "cases", "--output", out)
    done = ask("sensitivity", *given, "--levels", "1,2", "--check")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "manifest.json").read_text())["simulations"]["every input, one reverse pass a stream"] == 4
    checked = pd.read_csv(out / "check.csv")
    agrees = checked[checked["sentence"].str.startswith("agrees")]
    assert len(agrees)
    near = (agrees["gradient"] - agrees["difference"]).abs()
    assert (near < 4 * (agrees["gradient_se"] + agrees["difference_se"])).all()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert agrees["sentence"].iloc[0] in page
    third = ask("sensitivity", *given[:-1], tmp_path / "third", "--levels", "3")
    assert third.returncode == 0, third.stderr
    assert (tmp_path / "third" / "report.html").is_file()
