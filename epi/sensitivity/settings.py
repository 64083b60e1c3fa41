"""What decides a sensitivity report."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from epi.errors import StudyError
from epi.inference.settings import least_scale
from epi.sensitivity.outputs import DEFAULT

LEVELS = ("1", "2", "3", "compare")
ALONE = "reference"
"""Makes the reference ranking and nothing else."""


FREE = ("workers", "batch", "reference_file")
"""Settings that may differ when a report is resumed."""
MOST_WORKERS = 16


def cores() -> int:
    """Cores that this process may use, at most 16."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(found, MOST_WORKERS)


class Config(BaseModel):
    """Settings; frozen, written into the manifest.

    Attributes:
        source: folder of the calibration. outputs: texts of the outputs; the first leads, the first two are analysed at levels 2 and 3.
        levels: which of `LEVELS`. scale: agents per person of the runs made here. seed: of everything random. device: "cpu" or "cuda".
        batch: runs at once, in each of the worker processes.
        workers: how many of these there are; 1 makes all runs in this process, as on a GPU.
        streams: random streams of level 2. draws: of level 3 under the prior. posterior_draws: under the posterior.
        survivors: rows of the Sobol design on the inputs that screening keeps. reference: rows of the reference ranking.
        reference_file: of runs made earlier, taken instead. elements: the reference ranking moves each element of a vector by itself too.
        morris, sobol, dgsm, once, sbi: sizes of the baselines. check: random streams of the check by differences, 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    outputs: tuple[str, ...] = Field(default=DEFAULT, min_length=1)
    levels: tuple[str, ...] = LEVELS
    scale: float = Field(default=0.03, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    device: str = "cpu"
    batch: int = Field(default=8, ge=1)
    workers: int = Field(default_factory=cores, ge=1)
    streams: int = Field(default=16, ge=2)
    draws: int = Field(default=96, ge=10)
    posterior_draws: int = Field(default=24, ge=10)
    survivors: int = Field(default=32, ge=16)
    reference: int = Field(default=32, ge=16)
    reference_file: str | None = None
    elements: bool = False
    morris: int = Field(default=4, ge=0)
    sobol: int = Field(default=8, ge=0)
    dgsm: int = Field(default=8, ge=0)
    once: int = Field(default=1, ge=0)
    sbi: int = Field(default=400, ge=0)
    check: int = Field(default=0, ge=0)
    smoke: bool = False


SMOKE: dict[str, Any] = {
    "scale": 0.002, "workers": 1,
    "streams": 4, "draws": 12, "posterior_draws": 10, "survivors": 16, "reference": 16, "morris": 2, "sobol": 2, "dgsm": 2, "sbi": 60,
    "outputs": ("cases", "admissions"),
}  # fmt: skip
THOROUGH: dict[str, Any] = {
    "scale": 0.1, "streams": 64, "draws": 256, "posterior_draws": 48, "survivors": 64, "reference": 512, "morris": 10, "sobol": 32,
    "dgsm": 16, "once": 4, "sbi": 2000,
}  # fmt: skip
CHECK_STREAMS = {"smoke": 4, "": 16, "thorough": 64}


def enough_agents(config: Config, people: int) -> Config:
    """The settings with as many agents as a ranking needs, in a region of so many people."""
    return config.model_copy(update={"scale": max(config.scale, least_scale(people))})


def make_config(*, smoke: bool, thorough: bool, check: bool, **settings: Any) -> Config:
    """Settings of the user over those of the size asked for.

    Raises:
        StudyError: a setting is out of range.
    """
    if smoke and thorough:
        raise StudyError("Both --smoke and --thorough were given; choose one.")
    values = dict(SMOKE if smoke else THOROUGH if thorough else {})
    if settings.get("device", "cpu") != "cpu":
        if (settings.get("workers") or 1) > 1:
            raise StudyError(
                f"{settings['workers']} workers were asked for on {settings['device']}; they share a CPU: leave --workers out."
            )
        values["workers"] = 1
    if check:
        values["check"] = CHECK_STREAMS["smoke" if smoke else "thorough" if thorough else ""]
    values |= {key: value for key, value in settings.items() if value is not None and value != ()}
    try:
        config = Config(smoke=smoke, **values)
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(
            f"Setting {first['loc'][0]} = {first['input']!r} cannot be used: {first['msg'][0].lower()}{first['msg'][1:]}."
        ) from error
    unknown = [level for level in config.levels if level not in (*LEVELS, ALONE)]
    if unknown or (ALONE in config.levels and len(config.levels) > 1):
        raise StudyError(
            f"Level {(unknown or [ALONE])[0]!r} was asked for{'' if unknown else ' with others'}; "
            f"choose of {', '.join(LEVELS)}, or {ALONE!r} alone."
        )
    if config.workers > 1 and config.device != "cpu":
        raise StudyError(
            f"{config.workers} workers were asked for on {config.device}; workers share a CPU: leave --workers out."
        )
    for name in ("reference", "survivors", "sobol"):
        rows = getattr(config, name)
        if rows & (rows - 1):
            raise StudyError(f"Setting {name} = {rows} cannot be used: Sobol points come in powers of two.")
    return config
