"""One synthetic epidemic: simulated, calibrated and forecast by the study's own command, in a process of its own."""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calib.storage import atomic_write_json
from experiments._studies import run_study


@dataclass(frozen=True)
class Settings:
    """What every epidemic of a benchmark has in common.

    Attributes:
        scale: agents per person of the calibrating population; the epidemics themselves are those of the whole country.
        draws: posterior draws, among which the truth is ranked.
        options: further options of `python -m experiments.nz_calibration`.
        threads: threads of a worker.
        minutes: time limit of one epidemic.
    """

    scale: float = 0.02
    draws: int = 64
    options: tuple[str, ...] = ()
    threads: int = 1
    minutes: float = 40.0

    def identity(self) -> dict[str, Any]:
        """What decides the results, as plain data: not the threads, nor the limit of time."""
        out = asdict(self)
        return {"scale": out["scale"], "draws": out["draws"], "options": list(out["options"])}


def kept_file(folder: Path, seed: int) -> Path:
    """Where the outcome of an epidemic is kept."""
    return folder / "epidemics" / f"{seed:04d}.json"


def run_epidemic(folder: Path, seed: int, settings: Settings, stop: threading.Event) -> dict[str, Any]:
    """Run one epidemic to its end and keep what the benchmark needs of it; go on with it if it was begun before.

    Args:
        folder: of the benchmark.
        seed: names the epidemic (`--synthetic`).
        settings: of the benchmark.
        stop: set to end the worker early; what it did is resumed the next time.

    Returns:
        What was kept: `seed`, `seconds`, and either `parameters` with the ranks of the truth, `draws`, `fit`, `k_hat`, `sampler`,
        `followed` (times that runs followed the chains), `residual_ratio` (of the forecast's runs about the emulator, over its predicted size
        ), `forecast`, or `failed` with the reason.
    """
    run, began = folder / "runs" / f"{seed:04d}", time.monotonic()
    arguments = ["--synthetic", str(seed), "--scale", str(settings.scale), "--device", "cpu", "--seed", str(seed)]
    arguments += ["--draws", str(settings.draws), *settings.options]
    code, said = run_study(run, arguments, settings.threads, stop, settings.minutes)
    seconds = round(time.monotonic() - began, 1)
    kept: dict[str, Any] = {"seed": seed, "seconds": seconds}
    if code == 0:
        kept |= _outcome(run)
    elif stop.wait(1.0):  # an interrupt from the keyboard reaches the worker before it reaches us
        return kept | {"failed": "stopped"}  # not kept: it goes on the next time
    elif code is None:
        kept["failed"] = f"not finished after {settings.minutes:g} minutes"
    else:
        kept["failed"] = f"exit code {code}: {said}"
    atomic_write_json(kept_file(folder, seed), kept)
    if code == 0:  # the folder of a failed one stays: it can be looked into, and resumed
        shutil.rmtree(run)
        run.with_suffix(".log").unlink()
    return kept


def _outcome(run: Path) -> dict[str, Any]:
    """What is kept of a finished run, from its files."""
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    found = json.loads((run / "recovery.json").read_text(encoding="utf-8"))
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    fit, weights = manifest.get("fit", {}), manifest.get("importance", {})
    return {
        "draws": manifest["configuration"]["draws"] - manifest.get("skipped", {}).get("posterior draws", 0),
        "fit": {"steps": fit.get("steps"), "stopped_because": fit.get("stopped_because")},
        "k_hat": weights.get("k_hat"),
        "sampler": {key: manifest.get("sampler", {}).get(key) for key in ("r_hat", "effective", "divergent")},
        "followed": manifest.get("beyond_runs", {}).get("followed"),
        "residual_ratio": manifest.get("held_out", {}).get("median"),
        "parameters": [{key: row[key] for key in ("name", "truth", "low", "high", "rank")} for row in found["parameters"]],
        "forecast": {
            stream: {period: {k: row[k] for k in ("coverage_50", "coverage_95", "relative_wis")} for period, row in s["overall"].items()}
            for stream, s in scores.items()
        },
        "seconds_by_phase": manifest["timings"],
        "peak_memory_gib": manifest.get("peak_memory_gib"),
    }  # fmt: skip
