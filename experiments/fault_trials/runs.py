"""Calibrations that are killed at random moments, told to end, or met by a second process, then resumed: the result must be that without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from calib.storage import datasets_of, load_inference_data
from experiments.fault_trials.outcome import Outcome

__all__ = ["SETTINGS", "SIGNALS", "base", "ended_early", "second_process"]

SETTINGS = (
    "--smoke",
    "--max-steps",
    "6",
    "--draws",
    "10",
    "--scale",
    "0.2",
    "--warm-start",
    "2",
    "--device",
    "cpu",
    "--threads",
    "1",
)
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
LONGEST = 900.0
PATIENCE = 10.0
"""Seconds in which a run must end that is told to."""
INTERRUPTED = 3


def _start(study: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "posterity", "calibrate", str(study), *SETTINGS, "-o", str(output), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"MPLBACKEND": "Agg"},
    )  # fmt: skip


def _finish(process: subprocess.Popen[str], seconds: float = LONGEST) -> tuple[int, str] | None:
    """Exit code and what it said; None if it hung and was killed."""
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    except BaseException:  # the trials themselves are ended
        process.kill()
        raise
    return process.returncode, said


def base(place: Path) -> tuple[Path, Path, float]:
    """A new study in a folder and its undisturbed run, made once: study, run, seconds.

    Raises:
        RuntimeError: the run failed.
    """
    study, run, seconds = place / "my_study", place / "run", place / "seconds.json"
    if not seconds.exists():
        if not study.exists():
            subprocess.run([sys.executable, "-m", "posterity", "new", str(study)], check=True, capture_output=True)
        begun = time.perf_counter()
        found = _finish(_start(study, run, "--resume"))
        if found is None or found[0]:
            raise RuntimeError(f"The run without faults in {run} did not end well: {found}")
        seconds.write_text(json.dumps(time.perf_counter() - begun))
    return study, run, float(json.loads(seconds.read_text()))


def same(a: Path, b: Path) -> bool:
    """Whether two runs have the same draws, forecast and scores, bit for bit."""
    texts = all(
        (a / name).read_bytes() == (b / name).read_bytes() for name in ("forecast.csv", "scores.json", "derived.csv")
    )
    one, two = (datasets_of(load_inference_data(folder / "posterior.nc")) for folder in (a, b))
    return texts and all(one[name].equals(two[name]) for name in ("posterior", "posterior_predictive"))


def _unfinished(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob(".*.tmp*")]


def _resumed(study: Path, folder: Path, wanted: Path) -> Outcome:
    found = _finish(_start(study, folder, "--resume"))
    if found is None:
        return Outcome("hang", "the resumed run")
    if found[0]:
        return Outcome("traceback", f"the resumed run ended with {found[0]}: {found[1][-300:]}")
    if _unfinished(folder):
        return Outcome("litter", ", ".join(_unfinished(folder)))
    return Outcome("accepted rightly") if same(folder, wanted) else Outcome("accepted wrongly", "another result")


def ended_early(study: Path, wanted: Path, seconds: float, name: str, seed: int, place: Path) -> Outcome:
    """Start a run, end it by a signal at a random moment, and resume it.

    Args:
        study: of `base`.
        wanted: its undisturbed run.
        seconds: that this took.
        name: of the signal, one of `SIGNALS`.
        seed: chooses the moment.
        place: an empty folder.
    """
    folder = place / "run"
    process = _start(study, folder)
    time.sleep(seconds * float(np.random.default_rng([seed, 11]).uniform(0.02, 0.98)))
    began = process.poll() is None
    process.send_signal(SIGNALS[name])
    found = _finish(process, PATIENCE)
    if found is None:
        return Outcome("hang", f"it did not end within {PATIENCE:g} s of {name}")
    unborn = found[0] == -SIGNALS[name] and not folder.exists()
    if began and name != "SIGKILL" and found[0] != 0 and not unborn:
        if found[0] != INTERRUPTED or "Traceback" in found[1]:
            return Outcome("traceback", f"exit code {found[0]}: {found[1][-300:]}")
        if (folder / "manifest.json").exists():
            status = json.loads((folder / "manifest.json").read_text())["status"]
            if status not in ("interrupted", "complete"):
                return Outcome("accepted wrongly", f"the manifest says {status}")
    return _resumed(study, folder, wanted)


def second_process(study: Path, wanted: Path, seed: int, place: Path) -> Outcome:
    """Start a run, and while it works the same with --resume: the second must be refused, and the first undisturbed.

    Args:
        study: of `base`.
        wanted: its undisturbed run.
        seed: chooses the moment.
        place: an empty folder.
    """
    folder = place / "run"
    first = _start(study, folder)
    while first.poll() is None and not (folder / "manifest.json").exists():
        time.sleep(0.1)
    time.sleep(float(np.random.default_rng([seed, 13]).uniform(0.0, 2.0)))
    second = _finish(_start(study, folder, "--resume"))
    running = first.poll() is None
    told = _finish(first)
    if second is None or told is None:
        return Outcome("hang", "one of the two")
    if not running:
        return Outcome("refused", "the first had ended before the second began: no trial")
    if second[0] == 0:
        return Outcome("accepted wrongly", "both wrote to one folder")
    if second[0] != 2 or "is being written by process" not in second[1] or len(second[1].strip().splitlines()) != 1:
        return Outcome("traceback", f"exit code {second[0]}: {second[1][-300:]}")
    return (
        Outcome("refused", second[1].strip())
        if told[0] == 0 and same(folder, wanted)
        else Outcome("accepted wrongly", told[1][-300:])
    )
