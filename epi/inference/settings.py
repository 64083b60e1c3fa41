"""What decides a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calib import FLOWS
from epi.data import people_of
from epi.errors import StudyError
from epi.study import load_study

FULL_RANK = ("gaussian", "gaussian-nsf")
"""Flows that can start from Gauss-Newton steps."""
FREE = ("max_seconds", "max_steps", "scores_only")
"""Settings that may differ when a run is resumed."""


class Config(BaseModel):
    """Settings of a run; frozen, written into its manifest.

    Attributes:
        study: where the study is, as `epi.load_study` finds it.
        scale: agents per person, (0, 1].
        jacobian_scale: agents per person of the sample on which Jacobians are taken; None for `scale`.
        level_scale: agents per person of the population whose runs, without Jacobians, set level and curvature of the emulator and
            make the forecast.
        level_runs: how many of them the warm start makes; 0 takes level, curvature and forecast from the sample itself.
        rounds: how often such runs are made at draws of the fit, which then goes on.
        round_runs: runs of a round.
        round_jacobians: runs of a round with their Jacobian, at some of the same draws.
        slope_scale: agents per person of the sample on which these Jacobians are taken; not below that of the others.
        balance: how far small regions are over-sampled, 0 (proportional) to 1.
        seed: of everything random.
        device: "cpu" or "cuda".
        gradient: "local" fits the flow with the Jacobians and values that the warm start kept, and simulates nothing more; "reverse" and
            "forward" then go on with fresh simulations in every step.
        estimator: of derivatives through infections: "removals" (unbiased), "local-score" (biased where an outbreak depends on few cases),
            or "auto" (`sim.epidemic`).
        flow: family of the guide.
        particles: simulations a step.
        learning_rate: of the fit.
        warm_start: Gauss-Newton steps before the fit.
        average: compare the data with the mean over random streams (True) or with single runs.
        max_steps, max_seconds: limits of the fit.
        chain_draws: kept of each of the 64 chains that draw from the posterior of the emulator.
        draws: posterior draws simulated to the end of the forecast.
        jacobian_draws: how many of them with their Jacobian under two random streams, on the sample, for the sensitivity ranking.
        replicates: observations drawn for each of them.
        prior_draws: simulations of the prior predictive.
        streams: what the likelihood sees, options of the study.
        synthetic: calibrate observations simulated from this seed's draw of the prior instead of the real ones.
        threads: of tensor operations while the emulator is fitted, written into the manifest: another number gives other last bits. None: as
             many as the machine has, at most 8 and at most `OMP_NUM_THREADS`; a run that is resumed keeps the number it began with.
        scores_only: end with forecast and scores: no derivatives of the forecast, so no ranking; no plots, no report.
        smoke: a run that touches everything and fits nothing well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    scale: float = Field(gt=0, le=1)
    jacobian_scale: float | None = Field(default=None, gt=0, le=1)
    level_scale: float = Field(default=0.5, gt=0, le=1)
    level_runs: int = Field(default=24, ge=0)
    rounds: int = Field(default=3, ge=0)
    round_runs: int = Field(default=50, ge=10)
    round_jacobians: int = Field(default=12, ge=4)
    slope_scale: float = Field(default=0.1, gt=0, le=1)
    balance: float = Field(default=0.75, ge=0, le=1)
    seed: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    gradient: Literal["local", "reverse", "forward"] = "local"
    estimator: Literal["auto", "removals", "local-score"] = "removals"
    flow: str = "gaussian"
    particles: int = Field(default=8, ge=2)
    learning_rate: float = Field(default=0.01, gt=0)
    warm_start: int = Field(default=9, ge=0)
    average: bool = True
    warm_particles: int = Field(default=4, ge=1)
    max_steps: int = Field(default=3000, ge=1)
    max_seconds: float = Field(default=300.0, gt=0)
    chain_draws: int = Field(default=150, ge=4)
    draws: int = Field(default=96, ge=10)
    jacobian_draws: int = Field(default=24, ge=10)
    replicates: int = Field(default=8, ge=1)
    prior_draws: int = Field(default=64, ge=10)
    noise_runs: int = Field(default=16, ge=4)
    streams: tuple[str, ...] = Field(min_length=1)
    synthetic: int | None = None
    threads: int | None = Field(default=None, ge=1)
    scores_only: bool = False
    smoke: bool = False
    data: str | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of the epidemic: double precision on the CPU, single on a GPU. Inference is in double precision always."""
        return torch.float32 if self.device == "cuda" else torch.float64

    @property
    def country_scale(self) -> float:
        """Agents per person of the population whose runs set the level and make the forecast."""
        return max(self.scale, self.level_scale) if self.level_runs else self.scale

    def identity(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        return self.model_dump(mode="json")


DEFAULT_SCALE = {"cpu": 0.03, "cuda": 1.0}
GPU_JACOBIAN_SCALE = 0.06
SMOKE: dict[str, Any] = {
    "scale": 0.006, "particles": 4, "warm_start": 3, "warm_particles": 2, "max_steps": 40, "max_seconds": 3600.0,
    "level_scale": 0.02, "level_runs": 4, "rounds": 1, "round_runs": 12, "round_jacobians": 4, "slope_scale": 0.006, "chain_draws": 10,
    "draws": 16, "jacobian_draws": 10, "prior_draws": 24, "noise_runs": 4, "replicates": 4,
}  # fmt: skip


MIN_AGENTS = 2000
"""Agents at least, where no scale is asked for and as far as there are people: with fewer, chance hides which parameter drives an output."""


def least_scale(people: int) -> float:
    """Agents per person of the fewest agents that a ranking needs, in a region of so many people; rounded up, at most 1."""
    return min(1.0, math.ceil(1000 * MIN_AGENTS / people) / 1000)


def smoke_sizes(people: int) -> dict[str, Any]:
    """The sizes of a smoke run for a region of so many people.

    Examples:
        >>> smoke_sizes(5_000_000)["scale"], smoke_sizes(18_000)["scale"], smoke_sizes(800)["scale"]
        (0.006, 0.112, 1.0)
    """
    return SMOKE | {name: max(SMOKE[name], least_scale(people)) for name in ("scale", "level_scale", "slope_scale")}


def make_config(study: str, *, smoke: bool, device: str, **settings: Any) -> Config:
    """Settings given by the user over those of the device and of a smoke run.

    Args:
        study: where the study is, as `epi.load_study` finds it.
        smoke: whether to take the smoke run's sizes.
        device: "auto", "cpu" or "cuda".
        **settings: settings by name; None means not given.

    Raises:
        StudyError: a setting is out of range, or the device is not there.
        DataError: of a smoke run, the table of the population is missing or damaged.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise StudyError(f"Device {device!r} was asked for; choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise StudyError(
            "Device cuda was asked for, but torch finds no usable GPU; run with --device cpu, or install a CUDA build of torch."
        )
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    declared = load_study(study)
    sizes = smoke_sizes(people_of(declared, settings.get("data"))) if smoke else {}
    values: dict[str, Any] = {"device": device, "scale": DEFAULT_SCALE[device], **sizes}
    if device == "cuda":
        values["jacobian_scale"] = sizes["scale"] if smoke else GPU_JACOBIAN_SCALE
    values |= {key: value for key, value in settings.items() if value is not None}
    given = values.get("streams")
    values["streams"] = declared.default_options if given is None else declared.parse_options(given)
    if values.get("data") is not None:
        values["data"] = str(Path(values["data"]))
    try:
        config = Config(study=study, smoke=smoke, **values)
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(
            f"Setting {first['loc'][0]} = {first['input']!r} cannot be used: {first['msg'][0].lower()}{first['msg'][1:]}."
        ) from error
    if config.flow not in FLOWS:
        raise StudyError(f"Flow {config.flow!r} was asked for; choose one of {', '.join(FLOWS)}.")
    if config.warm_start and config.flow not in FULL_RANK:
        raise StudyError(
            f"Flow {config.flow!r} cannot start from Gauss-Newton steps; choose {' or '.join(FULL_RANK)}, or --warm-start 0."
        )
    if config.gradient == "local" and not (config.average and config.warm_start):
        raise StudyError(
            "Gradient 'local' fits to the emulator of the warm start, which was turned off; choose --gradient reverse or forward."
        )
    return config
