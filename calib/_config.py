"""How a fit is run and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from calib._flows import Flow
from calib._problem import GRADIENTS, Gradient
from calib._stopping import StopRule

Noise = Literal["antithetic", "independent", "sobol"]
Estimator = Literal["path", "total"]

# What may change when a run is resumed: how long it goes on, not what it does at a step.
LIMITS = ("max_steps", "max_seconds", "checkpoint_seconds")


class FitError(ValueError):
    """A fit that cannot go on; the text names the parameter values that broke it."""


class BudgetError(ValueError):
    """A budget too small for a method.

    Args:
        given: simulations the method was given.
        need: the fewest it needs.
        why: what for, the end of the sentence.
    """

    def __init__(self, given: int, need: int, why: str) -> None:
        self.need, self.why = need, why
        super().__init__(f"a budget of {given} simulations was given, expected at least {need} {why}.")


class Interrupted(FitError):
    """A simulation that did not end because the run was interrupted; the fit keeps a checkpoint of the step before and ends."""


@dataclass(frozen=True)
class FitConfig:
    """Settings of `fit`.

    Attributes:
        seed: of everything random; the numbers of a step follow from (seed, step) alone.
        particles: simulations a step, P.
        gradient: path through the simulator, `"reverse"`, `"forward"` or `"score"`.
        noise: base noise of the particles: `"independent"`, `"antithetic"` pairs, or scrambled `"sobol"`
            points.
        estimator: `"path"` derivative (Roeder, Wu & Duvenaud 2017: the score of q, zero in mean, is left out,
            so
            the noise vanishes where q is the posterior) or `"total"` derivative of the objective.
        learning_rate: of Adam, after the warm-up.
        betas: of Adam; a short second memory forgets the huge gradients of a far-off start.
        warmup_steps: steps over which the rate rises linearly.
        anneal_fraction: part of the run, at its end, over which the rate falls as a cosine.
        final_rate: the last rate as a fraction of `learning_rate`.
        average_fraction: part of the fall, at its end, over which weights are averaged (Polyak & Juditsky
            1992).
        clip_factor: gradients longer than so many times the median of the last 50 are shortened to that.
        temper_steps: steps over which the likelihood's weight rises from `temper_start` to 1; 0 for none.
        temper_start: first weight of the likelihood.
        loss_weight: weight of the log likelihood (generalised posterior); 1 is Bayes.
        max_steps: step limit.
        max_seconds: time limit, earlier parts of a resumed run included; none if None.
        stop: when the objective counts as settled; none if None.
        min_particles: fraction of particles that must be finite, else the step is skipped.
        max_skipped: skipped steps in a row that end the run.
        max_skipped_fraction: fraction of the last 50 steps that, skipped, ends the run.
        checkpoint_seconds: time between checkpoints.

    Examples:
        >>> from calib import FitConfig
        >>> FitConfig(particles=16).max_steps
        2000
    """

    seed: int = 0
    particles: int = 8
    gradient: Gradient = "reverse"
    noise: Noise = "independent"
    estimator: Estimator = "path"
    learning_rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 20
    anneal_fraction: float = 0.3
    final_rate: float = 0.02
    average_fraction: float = 0.2
    clip_factor: float = 3.0
    temper_steps: int = 0
    temper_start: float = 0.05
    loss_weight: float = 1.0
    max_steps: int = 2000
    max_seconds: float | None = None
    stop: StopRule | None = field(default_factory=StopRule)
    min_particles: float = 0.5
    max_skipped: int = 10
    max_skipped_fraction: float = 0.5
    checkpoint_seconds: float = 20.0

    def __post_init__(self) -> None:
        noises, estimators = ("independent", "antithetic", "sobol"), ("path", "total")
        checks: list[tuple[str, Any, bool, str]] = [
            ("particles", self.particles, self.particles >= 1, "at least 1"),
            ("gradient", self.gradient, self.gradient in GRADIENTS, f"one of {', '.join(GRADIENTS)}"),
            ("noise", self.noise, self.noise in noises, f"one of {', '.join(noises)}"),
            ("estimator", self.estimator, self.estimator in estimators, f"one of {', '.join(estimators)}"),
            ("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0"),
            ("anneal_fraction", self.anneal_fraction, 0 <= self.anneal_fraction < 1, "in [0, 1)"),
            ("average_fraction", self.average_fraction, 0 <= self.average_fraction <= 1, "in [0, 1]"),
            ("temper_start", self.temper_start, 0 < self.temper_start <= 1, "in (0, 1]"),
            ("loss_weight", self.loss_weight, self.loss_weight > 0, "above 0"),
            ("max_steps", self.max_steps, self.max_steps >= 1, "at least 1"),
            ("max_seconds", self.max_seconds, (self.max_seconds or 1.0) > 0, "above 0, or None"),
            ("max_skipped", self.max_skipped, self.max_skipped >= 1, "at least 1"),
            ("min_particles", self.min_particles, 0 < self.min_particles <= 1, "in (0, 1]"),
        ]
        for name, value, good, expected in checks:
            if not good:
                raise ValueError(f"{name} = {value!r} was given for a fit, expected {expected}")
        if self.gradient == "score" and self.particles < 2:
            raise ValueError("particles = 1 was given with gradient = 'score', expected at least 2")

    def identity(self) -> dict[str, Any]:
        """The settings that make a run what it is, as plain data (without its limits)."""
        return {key: value for key, value in asdict(self).items() if key not in LIMITS}


@dataclass(frozen=True)
class Progress:
    """State of a fit after a step, for whoever shows it.

    Attributes:
        step: steps done.
        max_steps: the most there will be, as known now.
        elbo: objective of this step, nats; NaN if it was skipped.
        smoothed: its running mean.
        seconds: time spent, earlier parts of a resumed run included.
        eta_seconds: time left at most.
        memory_mib: resident memory of the process, MiB.
        skipped: steps skipped so far.
        phase: `"climbing"` or `"annealing"`.
    """

    step: int
    max_steps: int
    elbo: float
    smoothed: float
    seconds: float
    eta_seconds: float
    memory_mib: float
    skipped: int
    phase: str


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class FitResult:
    """A finished fit.

    Attributes:
        flow: the fitted q(z), its weights averaged over the end of the run, without gradients.
        history: by step: `step`, `elbo` (nats; NaN where skipped), `elbo_smoothed`, `log_likelihood`,
            `seconds`, `skipped` (0 or
            1), `dropped` (particles), `learning_rate`, `temper`, `gradient_norm`.
        steps: steps done.
        simulations: particles simulated.
        skipped: steps skipped.
        dropped: particles that were not finite.
        stopped_because: `"converged"`, `"max_steps"` or `"max_seconds"`.
        timings: seconds by part: `simulate` (with its gradient), `flow`, `rest`.
        errors: what the simulator raised, and for how many particles; they are among the dropped.
    """

    flow: Flow
    history: dict[str, np.ndarray]
    steps: int
    simulations: int
    skipped: int
    dropped: int
    stopped_because: str
    timings: dict[str, float]
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def elbo(self) -> float:
        """Mean objective over the last twentieth of the run (at least 10 steps), nats."""
        tail = self.history["elbo"][-max(10, self.steps // 20) :]
        return float(np.nanmean(tail)) if np.isfinite(tail).any() else float("nan")
