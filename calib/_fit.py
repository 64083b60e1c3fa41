"""Variational inference: maximise E_q[log p(y | z) + log N(z; 0, I) - log q(z)] over a flow q."""

from __future__ import annotations

import copy
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calib._checkpoint import CheckpointError, has_checkpoint, load_checkpoint, save_checkpoint
from calib._config import FitConfig, FitError, FitResult, Interrupted, Progress, ProgressCallback
from calib._failures import Failures, Misuse
from calib._flows import Flow
from calib._gradients import score_function
from calib._noise import base_noise, derive_seed
from calib._problem import Problem
from calib._progress import memory_mib
from calib._stopping import has_converged, smooth

COLUMNS = (
    "step",
    "elbo",
    "log_likelihood",
    "seconds",
    "skipped",
    "dropped",
    "learning_rate",
    "temper",
    "gradient_norm",
)


class _Run:
    """State of a fit between two steps."""

    def __init__(self, problem: Problem, flow: Flow, config: FitConfig) -> None:
        self.problem, self.flow, self.config = problem, copy.deepcopy(flow), config
        self.weights = dict(self.flow.named_parameters())
        rates = self.flow.rates()
        groups = [
            {"params": [p for name, p in self.weights.items() if rates[name] == scale], "scale": scale}
            for scale in sorted(set(rates.values()))
        ]
        self.adam = torch.optim.Adam(groups, lr=config.learning_rate, betas=config.betas)
        self.average = {name: torch.zeros_like(p) for name, p in self.weights.items()}
        self.averaged = 0
        self.rows: list[tuple[float, ...]] = []
        self.anneal_start: int | None = None
        self.anneal_steps = 0
        self.reason = ""  # why the anneal began
        self.stopped = ""
        self.fallen = 0.0  # how far the rate's fall has come
        self.seconds = 0.0
        self.timings = {"simulate": 0.0, "flow": 0.0, "rest": 0.0}
        self.failures = Failures(problem)

    # -- what a run is, on disk
    # ---------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        like = self.flow.like
        return {
            "flow": self.flow.name,
            "flow_settings": self.flow.settings,
            "dtype": str(like.dtype),
            "names": list(self.problem.coordinate_names),
            "problem": self.problem.fingerprint,
            **self.config.identity(),
        }

    def save(self, folder: Path) -> None:
        tensors = {"history": torch.tensor(self.rows, dtype=torch.float64).reshape(-1, len(COLUMNS))}
        for name, p in self.weights.items():
            tensors[f"weight/{name}"] = p.detach()
            tensors[f"average/{name}"] = self.average[name]
            for key, value in self.adam.state.get(p, {}).items():
                tensors[f"adam/{name}/{key}"] = value
        state = {
            "identity": self.identity(),
            "steps": len(self.rows),
            "columns": list(COLUMNS),
            "averaged": self.averaged,
            "anneal_start": self.anneal_start,
            "anneal_steps": self.anneal_steps,
            "reason": self.reason,
            "stopped": self.stopped,
            "seconds": self.seconds,
            "timings": self.timings,
            "errors": dict(self.failures.errors),
        }
        save_checkpoint(folder, tensors, state)

    def load(self, folder: Path) -> None:
        tensors, state = load_checkpoint(folder, self.identity())
        with torch.no_grad():
            for name, p in self.weights.items():
                p.copy_(tensors[f"weight/{name}"])
                self.average[name].copy_(tensors[f"average/{name}"])
                kept = {k: v for k, v in tensors.items() if k.startswith(f"adam/{name}/")}
                if kept:
                    self.adam.state[p] = {
                        k.rpartition("/")[2]: v.clone() if k.endswith("/step") else v.to(p) for k, v in kept.items()
                    }
        self.rows = [tuple(row) for row in tensors["history"].tolist()]
        self.averaged, self.seconds, self.timings = state["averaged"], state["seconds"], state["timings"]
        self.anneal_start, self.anneal_steps = state["anneal_start"], state["anneal_steps"]
        self.reason, self.stopped = state["reason"], state["stopped"]
        self.failures.errors.update(state.get("errors", {}))

    # -- schedules: functions of the step and of what is stored
    # ---------------------------------------------------------

    def column(self, name: str) -> np.ndarray:
        index = COLUMNS.index(name)
        return np.array([row[index] for row in self.rows], dtype=float)

    def seconds_per_step(self) -> float:
        ends = self.column("seconds")[-41:]
        return float(np.median(np.diff(ends))) if ends.size > 1 else self.seconds

    def plan(self, step: int) -> None:
        """Decide whether the rate begins to fall at this step, and whether the run is over."""
        c = self.config
        if self.anneal_start is None:
            length = max(1, round(c.anneal_fraction / (1 - c.anneal_fraction) * step))
            needed = self.seconds + length * self.seconds_per_step() if step else 0.0
            if c.max_seconds is not None and step and needed >= c.max_seconds:
                self.reason = "max_seconds"
            elif step + length >= c.max_steps:
                self.reason, length = "max_steps", c.max_steps - step
            elif c.stop is not None and step and step % c.stop.check_every == 0:
                started = max(c.temper_steps, c.warmup_steps)
                self.reason = "converged" if has_converged(self.column("elbo")[started:], c.stop).converged else ""
            if self.reason:
                self.anneal_start, self.anneal_steps = step, length
        self.fallen = self.progress_of_fall(step)
        if self.anneal_start is not None and step >= self.anneal_start + self.anneal_steps:
            self.stopped = self.reason
        elif step >= c.max_steps:
            self.stopped = "max_steps"
        elif step and c.max_seconds is not None and self.seconds >= c.max_seconds:
            self.stopped = "max_seconds"

    def progress_of_fall(self, step: int) -> float:
        """How far the rate's fall has come, 0 to 1: by steps, or by time where that would run out first."""
        if self.anneal_start is None:
            return 0.0
        done = (step - self.anneal_start + 1) / self.anneal_steps
        if self.config.max_seconds is not None:
            began = float(self.column("seconds")[self.anneal_start - 1]) if self.anneal_start else 0.0
            passed = self.seconds + self.seconds_per_step() - began
            done = max(done, passed / max(self.config.max_seconds - began, 1e-9))
        return min(1.0, done)

    def rate(self, step: int) -> float:
        c = self.config
        warm = min(1.0, (step + 1) / c.warmup_steps) if c.warmup_steps else 1.0
        fall = c.final_rate + (1 - c.final_rate) * 0.5 * (1 + math.cos(math.pi * self.fallen))
        return c.learning_rate * warm * fall

    def temper(self, step: int) -> float:
        c = self.config
        if step >= c.temper_steps:
            return 1.0
        return c.temper_start ** (1 - step / c.temper_steps)  # rises by equal factors

    # -- one step
    # -----------------------------------------------------------------------------------------------------

    def likelihood(self, z: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Log likelihood `[particle]` and its gradient in z `[particle, D]` (zeros on the score path).

        NaN where the simulator raises; see `Failures.one_by_one`.
        """
        try:
            return self.evaluate(z, seed)
        except (Misuse, FitError, MemoryError, torch.OutOfMemoryError):
            raise  # no matter of parameters
        except Exception as error:
            return self.failures.one_by_one(lambda rows: self.evaluate(rows, seed), z.detach(), error)

    def evaluate(self, z: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """`likelihood` of a simulator that does not raise."""
        gradient = self.config.gradient
        leaf = z.detach().requires_grad_(gradient != "score")
        value = self.problem.log_likelihood(leaf, seed, gradient)
        if value.shape != z.shape[:1]:
            raise Misuse(
                f"the problem's log likelihood has shape {tuple(value.shape)}, expected one value for each "
                f"of {z.shape[0]} particles"
            )
        if gradient == "score":
            return value.detach().to(z), torch.zeros_like(z)
        finite = torch.isfinite(value)
        if not finite.any():
            return value.detach().to(z), torch.full_like(z, math.nan)
        if not value.requires_grad:
            raise Misuse(
                "the problem's log likelihood has no gradient with respect to z: keep the graph, attach a "
                "Jacobian, or choose "
                "gradient='score'"
            )
        (slope,) = torch.autograd.grad(value[finite].sum(), leaf)
        return value.detach().to(z), slope

    def objective(self, noise: Tensor, z: Tensor, log_q: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        """Per particle, something whose gradient in the flow's weights is that of the objective.

        Args:
            noise: base noise `[particle, D]`.
            z: where it was sent, `[particle, D]`.
            log_q: `[particle]`.
            value: weighted log likelihood, `[particle]`.
            slope: its derivative in z, `[particle, D]`.

        Returns:
            `[particle]`.
        """
        pull = slope - z.detach()  # derivative of weighted log likelihood + log N(z; 0, I)
        path = self.config.estimator == "path"
        surrogate = ((pull - self.flow.score(noise)) * z).sum(-1) if path else (pull * z).sum(-1) - log_q
        if self.config.gradient == "score":
            surrogate = surrogate + score_function(value, self.flow.log_prob(z.detach()))
        return surrogate

    def advance(self, step: int) -> None:
        """Do one step and write its row."""
        c, started = self.config, time.perf_counter()
        self.adam.zero_grad(set_to_none=True)
        noise = base_noise(c.noise, c.particles, self.flow.dim, derive_seed(c.seed, step, "noise"))
        noise = noise.to(self.flow.like)
        z, log_q = self.flow.sample_with_log_prob(noise)
        sampled = time.perf_counter()
        value, slope = self.likelihood(z, derive_seed(c.seed, step, "simulate"))
        simulated = time.perf_counter()
        with torch.no_grad():
            log_prior = -0.5 * (z**2).sum(-1) - 0.5 * self.flow.dim * math.log(2 * math.pi)
            elbo = c.loss_weight * value + log_prior - log_q
            good = torch.isfinite(elbo) & torch.isfinite(slope).all(-1)
        self.failures.see(z.detach(), good)
        norm, kept = math.nan, int(good.sum())
        usable = kept >= max(c.min_particles * c.particles, 2 if c.gradient == "score" else 1)
        if usable:
            weight = self.temper(step) * c.loss_weight
            goal = self.objective(noise[good], z[good], log_q[good], weight * value[good], weight * slope[good])
            (-goal.mean()).backward()
            norm = self.gradient_norm()
            usable = math.isfinite(norm)
        if usable:
            self.update(step, norm)
        ended = time.perf_counter()
        self.timings["simulate"] += simulated - sampled
        self.timings["flow"] += (sampled - started) + (ended - simulated)
        mean_elbo = float(elbo[good].mean()) if usable else math.nan
        mean_value = float(value[good].mean()) if usable else math.nan
        self.seconds += ended - started
        rate, temper = self.rate(step), self.temper(step)
        outcome = (float(step), mean_elbo, mean_value, self.seconds, float(not usable))
        self.rows.append((*outcome, float(c.particles - kept), rate, temper, norm))

    def gradient_norm(self) -> float:
        squares = [float((p.grad.double() ** 2).sum()) for p in self.weights.values() if p.grad is not None]
        return math.sqrt(sum(squares))

    def update(self, step: int, norm: float) -> None:
        """Move the weights along their gradients, and their average once the rate has fallen."""
        c = self.config
        recent = self.column("gradient_norm")[-50:]
        recent = recent[np.isfinite(recent)]
        if recent.size >= 10 and norm > c.clip_factor * float(np.median(recent)):
            scale = c.clip_factor * float(np.median(recent)) / norm
            for p in self.weights.values():
                if p.grad is not None:
                    p.grad.mul_(scale)
        for group in self.adam.param_groups:
            group["lr"] = self.rate(step) * group["scale"]
        self.adam.step()
        if self.anneal_start is not None and self.fallen > 1 - c.average_fraction:
            self.averaged += 1
            with torch.no_grad():
                for name, p in self.weights.items():
                    self.average[name] += (p - self.average[name]) / self.averaged

    def check_failures(self) -> None:
        """End the run if too many steps were skipped."""
        c, skipped = self.config, self.column("skipped")
        row = 0
        while row < skipped.size and skipped[-1 - row]:
            row += 1
        recent = skipped[-50:]
        if row >= c.max_skipped or (recent.size == 50 and recent.mean() > c.max_skipped_fraction):
            last = f"{int(recent.sum())} of the last 50 steps"
            count = f"{row} steps in a row" if row >= c.max_skipped else last
            raise FitError(f"by step {skipped.size}, {count} were skipped {self.failures.describe()}")

    def report(self) -> Progress:
        c, steps, rows = self.config, len(self.rows), self.column("elbo")
        last = c.max_steps if self.anneal_start is None else self.anneal_start + self.anneal_steps
        left = (last - steps) * self.seconds_per_step()
        if c.max_seconds is not None:
            left = min(left, max(0.0, c.max_seconds - self.seconds))
        return Progress(
            step=steps,
            max_steps=last,
            elbo=float(rows[-1]),
            smoothed=float(smooth(rows[-200:])[-1]),
            seconds=self.seconds,
            eta_seconds=left,
            memory_mib=memory_mib(),
            skipped=int(self.column("skipped").sum()),
            phase="climbing" if self.anneal_start is None else "annealing",
        )

    def result(self) -> FitResult:
        flow = copy.deepcopy(self.flow)
        if self.averaged:
            with torch.no_grad():
                for name, p in flow.named_parameters():
                    p.copy_(self.average[name])
        flow.requires_grad_(False)
        history = {name: self.column(name) for name in COLUMNS}
        history["elbo_smoothed"] = smooth(history["elbo"])
        return FitResult(
            flow=flow,
            history=history,
            steps=len(self.rows),
            simulations=len(self.rows) * self.config.particles,
            skipped=int(history["skipped"].sum()),
            dropped=int(history["dropped"].sum()),
            stopped_because=self.stopped,
            timings=dict(self.timings),
            errors=dict(self.failures.errors),
        )


def fit(
    problem: Problem,
    flow: Flow,
    config: FitConfig | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
) -> FitResult:
    """Fit a flow to a posterior.

    The rate warms up, stays until the objective has settled or the limit nears, then falls as a cosine while
    the weights are averaged. Particles that are not finite are left out of their step and counted.

    Args:
        problem: the log likelihood on z.
        flow: where to start; it is not changed.
        config: settings; the defaults if None.
        folder: where to keep a checkpoint; none is kept if None.
        resume: go on from the checkpoint in `folder`, if there is one. The steps are those of an undisturbed
            run, bit for bit,
            unless the time limit decided when the rate began to fall.
        progress: called after each step.

    Returns:
        The fitted flow and what happened.

    Raises:
        ValueError: if the dimensions differ or the likelihood has the wrong shape or no gradient.
        CheckpointError: if `folder` holds a checkpoint and `resume` is False, or the checkpoint is damaged or
            of another run.
        FitError: if too many steps were skipped.
        Interrupted: if a simulation was interrupted; the checkpoint holds the step before it.
    """
    config = config or FitConfig()
    if problem.dim != flow.dim:
        raise ValueError(
            f"the flow has {flow.dim} dimensions and the problem {problem.dim}: make it with dim=problem.dim"
        )
    run = _Run(problem, flow, config)
    place = Path(folder) if folder is not None else None
    if resume and place is None:
        raise ValueError("resume=True was given without a folder: name the folder that holds the checkpoint")
    if place is not None and has_checkpoint(place):
        if not resume:
            raise CheckpointError(f"{place} holds the checkpoint of a run: resume it, or choose another folder")
        run.load(place)
    saved = time.perf_counter()
    while not run.stopped:
        began, worked = time.perf_counter(), run.seconds
        run.plan(len(run.rows))
        if run.stopped:
            break
        try:
            run.advance(len(run.rows))
        except Interrupted:
            if place is not None:  # nothing of the step has been done yet
                run.save(place)
            raise
        run.check_failures()
        if progress is not None:
            progress(run.report())
        if place is not None and time.perf_counter() - saved >= config.checkpoint_seconds:
            run.save(place)
            saved = time.perf_counter()
        rest = time.perf_counter() - began - (run.seconds - worked)
        run.seconds += rest
        run.timings["rest"] += rest
    if place is not None:
        run.save(place)
    return run.result()
