"""Damaged and unfinished run folders are refused by every command that asks the posterior: one sentence, exit code 2."""

import json
import shutil

import numpy as np
import pytest

from calib.storage import FORECAST_DRAWS, datasets_of, load_inference_data
from epi.errors import StudyError
from epi.outputs.run_files import RunFiles
from experiments.fault_trials.folders import DAMAGES, damaged
from tests.posterity.test_command import run


@pytest.fixture
def whole(new_study, tmp_path):
    """A copy of a finished run next to its study."""
    return shutil.copytree(new_study[0] / "run", tmp_path / "run")


def refused(found):
    return found.returncode == 2 and "Traceback" not in found.stderr and len(found.stderr.strip().splitlines()) == 1


def test_a_whole_run_is_read(whole):
    assert RunFiles(whole).finished().manifest["status"] == "complete"


@pytest.mark.parametrize("name", DAMAGES)
def test_the_loader_refuses(whole, name):
    damaged(whole, name, np.random.default_rng(0))
    with pytest.raises(ValueError) as found:
        RunFiles(whole).finished()
    assert type(found.value).__name__ in ("StudyError", "RunFolderError")
    assert "\n" not in str(found.value)


COMMANDS = {
    "scenario": lambda folder, out: ("scenario", folder, "--output", out),
    "ask": lambda folder, out: ("ask", "How many cases in week 2?", "--from", folder, "--plain"),
    "serosurvey": lambda folder, out: ("serosurvey", folder, "--first", "2030-05-01", "--last", "2030-05-07"),
    "sensitivity": lambda folder, out: ("sensitivity", folder, "--output", out),
    "allocate-restrictions": lambda folder, out: ("allocate-restrictions", folder, "--output", out),
    "allocate-doses": lambda folder, out: ("allocate-doses", folder, "--output", out),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "name", ["status failed", "status running", "negative draws", "posterior cut in half", "manifest deep"]
)
def test_every_command_refuses_in_one_sentence(whole, tmp_path, command, name):
    damaged(whole, name, np.random.default_rng(0))
    found = run(*COMMANDS[command](whole, tmp_path / "out"), cwd=tmp_path)
    assert refused(found), found.stderr
    assert not (tmp_path / "out").exists()


def test_method_comparison_refuses(whole):
    from experiments.method_comparison._run import prepare

    damaged(whole, "negative draws", np.random.default_rng(0))
    with pytest.raises(StudyError, match="draws of"):
        prepare(whole)


def test_what_is_damaged_is_told(whole):
    damaged(whole, "draws NaN", np.random.default_rng(0))
    groups = datasets_of(load_inference_data(whole / "posterior.nc"))
    assert any(np.isnan(x.values).any() for x in groups[FORECAST_DRAWS].data_vars.values())
    assert json.loads((whole / "manifest.json").read_text())["status"] == "complete"
    with pytest.raises(StudyError, match="such as nan, expected finite values"):
        RunFiles(whole).finished()
