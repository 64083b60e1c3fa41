"""A run killed without warning goes on with --resume and ends as if nothing had happened."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from calib._idata import datasets_of, load_inference_data
from calib.multifidelity import WARM_START_FILE
from tests.conftest import NEW_STUDY

WARM_START = f"{WARM_START_FILE}.safetensors"

ROOT = Path(__file__).parents[2]
PLAIN = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(ROOT)}
"""A reader's environment: as many threads as there are cores, where this process has one."""


def phases(folder):
    """Phases that the manifest says are over."""
    try:
        return set(json.loads((folder / "manifest.json").read_text())["timings"])
    except FileNotFoundError:
        return set()


def in_warm_start(folder):
    return (folder / WARM_START).exists() and "warm_start" not in phases(folder)


def in_fit(folder):
    return (folder / "checkpoint.json").exists() and "fit" not in phases(folder)


def in_forecast(folder):
    return "noise" in phases(folder) and "forecast" not in phases(folder)


def kill_when(moment, place, folder, arguments, patience=120.0):
    """Start the command in a process of its own and kill it, without warning, when the folder shows the moment."""
    process = subprocess.Popen(
        [sys.executable, "-m", "posterity", "calibrate", "my_study", *NEW_STUDY, *arguments, "--output", str(folder)],
        cwd=place, env=PLAIN, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + patience
    try:
        while not moment(folder):
            assert process.poll() is None, f"ended before the moment came: {process.communicate()[1]}"
            assert time.monotonic() < end, "the moment did not come"
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -9
    assert json.loads((folder / "manifest.json").read_text())["status"] == "running"


def assert_same_run(folder, undisturbed):
    """Every number of the posterior file, and what was written from it."""
    found, wanted = (datasets_of(load_inference_data(f / "posterior.nc")) for f in (folder, undisturbed))
    assert found.keys() == wanted.keys()
    for group, dataset in wanted.items():
        for name, values in dataset.data_vars.items():
            # of two undisturbed runs in one process too, these differ in the last bits now and then
            rounding = 1e-12 if name in ("log_q", "lp", "energy") else 0.0
            np.testing.assert_allclose(
                found[group][name].values, values.values, rtol=rounding, atol=0.0, err_msg=f"{group}/{name}"
            )
    for name in ("forecast.csv", "scores.json", "sensitivity.csv"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_killed_in_the_warm_start_and_the_sensitivity_later(tmp_path, finished, calibrate):
    folder = tmp_path / "run"
    kill_when(in_warm_start, finished.parent, folder, ("--scores-only",))
    refused = calibrate("--output", folder)
    assert refused.returncode == 2
    assert "resume it" in refused.last
    result = calibrate("--scores-only", "--resume", "--output", folder)
    assert result.returncode == 0, result.stderr
    manifest = manifest_of(folder)
    assert manifest["status"] == "complete"
    assert len(manifest["resumed"]) == 1
    assert manifest["simulations"]["warm_start"] == manifest_of(finished)["simulations"]["warm_start"]
    assert {p.name for p in folder.glob(".*")} <= {
        ".lock",
        ".manifest.sha256",
    }  # no half-written files of the killed run
    assert (folder / "scores.json").read_bytes() == (finished / "scores.json").read_bytes()
    assert not [
        name for name in ("jacobian.nc", "sensitivity.csv", "figures", "report.html") if (folder / name).exists()
    ]
    result = calibrate("--resume", "--output", folder)
    assert result.returncode == 0, result.stderr
    assert (folder / "report.html").exists()
    assert_same_run(folder, finished)


@pytest.mark.slow
def test_killed_three_times(tmp_path, new_study, calibrate):
    """In the warm start, in the fit after its first checkpoint, and in the forecast; resumed each time."""
    settings = ("--max-steps", "80", "--particles", "24")  # long enough for a checkpoint within the fit
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "run"
    assert calibrate(*settings, "--output", undisturbed).returncode == 0
    for moment in (in_warm_start, in_fit, in_forecast):
        kill_when(moment, new_study[0], folder, (*settings, "--resume"))
    result = calibrate(*settings, "--resume", "--output", folder)
    assert result.returncode == 0, result.stderr
    manifest, wanted = manifest_of(folder), manifest_of(undisturbed)
    assert manifest["status"] == "complete"
    assert len(manifest["resumed"]) == 3
    assert manifest["fit"]["steps"] == wanted["fit"]["steps"]
    assert manifest["simulations"]["fit"] == wanted["simulations"]["fit"]
    assert_same_run(folder, undisturbed)
