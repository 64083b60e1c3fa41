"""Rounds of runs of a larger part of the country where the fit has come to, from which the local mean learns its curvature."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from calib import Flow, fit, rich_progress
from calib._kept_tensors import load_tensors, save_tensors
from calib._local_mean import LocalMean
from calib._noise import derive_seed
from calib._runfolder import RunFolder
from calib._warm_start import WarmStart
from epi.inference.likelihood import COUNTRY_BATCH, Inference
from epi.inference.sampler import ROUND, centre_of, chains
from epi.inference.saved_runs import kept_runs
from epi.inference.setup import Study, fit_settings, report_failed, steps
from epi.inference.threads import several_threads

FILE = "rounds.safetensors"
RUNS = ("z", "values", "slope_z", "slope_values", "slopes")
WIDER = 1.6
"""Runs are made this much further from the centre than draws lie: curvature shows there, and the posterior that is believed when a round
begins may lie beside the one that its runs lead to."""
ROUND_STEPS = 500
"""Steps of the fits between rounds, which only tell where to simulate next."""


@dataclass(frozen=True, eq=False)
class Pool:
    """What the rounds have come to.

    Attributes:
        z: `[V, D]` and values `[V, M]`, runs of the country without Jacobians.
        slope_z: `[N, D]`, slope_values `[N, M]` and slopes `[N, M, D]`, runs with Jacobians.
        flow: weights of the flow. rounds: how many are done.
    """

    z: Tensor
    values: Tensor
    slope_z: Tensor
    slope_values: Tensor
    slopes: Tensor
    flow: dict[str, Tensor]
    rounds: int

    def local(self, study: Study, warm: WarmStart) -> LocalMean:
        """What all these runs and those of the warm start know of the mean."""
        return study.local(warm, (self.z, self.values), (self.slope_z, self.slope_values, self.slopes.double()))


def explore(
    study: Study, inference: Inference, warm: WarmStart, flow: Flow, run: RunFolder, console: Console
) -> tuple[Inference, Flow]:
    """Fit, draw from the posterior of the local mean, run the country around there, some runs with Jacobians, learn from these, and again.

    A killed run goes on with the round that it was in.

    Returns:
        The likelihood by the local mean that the last round left, and the flow to go on from.
    """
    config, file, problem = study.config, run.path / FILE, study.fingerprint()
    pool = load_pool(file, problem) if file.exists() else None
    if pool is not None:
        flow.load_state_dict(pool.flow)
        inference = replace(inference, local=pool.local(study, warm))
    for number in range(0 if pool is None else pool.rounds, config.rounds):
        settings = replace(fit_settings(config, local=True), max_steps=min(ROUND_STEPS, config.max_steps))
        with run.phase(f"fit_{number + 1}"), rich_progress(console) as progress:
            flow = fit(inference.local_problem(problem), flow, settings, progress=progress).flow
        generator = torch.Generator().manual_seed(derive_seed(config.seed, number, "round"))
        with run.phase(f"draws_{number + 1}"):
            found = chains(
                inference,
                flow,
                inference.common_error(centre_of(flow, config.seed)),
                derive_seed(config.seed, number, "round-draws"),
                console,
                min(ROUND, config.chain_draws),
            )
            centre = found.z.flatten(0, 1).mean(0)
            z = (centre + WIDER * (found.draws(config.round_runs, generator) - centre))[:, : study.space.dim]
        with run.phase(f"round_{number + 1}"):
            values = simulate_round(inference, z, number, run, console, problem, config.seed)
        good = torch.isfinite(values).all(1)
        report_failed(good, run, "runs of a round")
        with run.phase(f"slopes_{number + 1}"):
            at = z[: config.round_jacobians]
            outputs, slopes = _differentiate(study, at, number, run, console)
        fine = torch.isfinite(outputs).all(1) & torch.isfinite(slopes).flatten(1).all(1)
        report_failed(fine, run, "runs of a round with Jacobians", fewest=2)
        new = (z[good], values[good], at[fine], outputs[fine], slopes[fine].float())
        if pool is not None:
            kept = (pool.z, pool.values, pool.slope_z, pool.slope_values, pool.slopes)
            new = tuple(torch.cat(pair) for pair in zip(kept, new, strict=True))  # type: ignore[assignment]
        pool = Pool(*new, flow.state_dict(), number + 1)
        save_pool(pool, file, problem)
        with run.phase(f"learn_{number + 1}"), several_threads():
            inference = replace(inference, local=pool.local(study, warm))
        flow.requires_grad_(True)
    report_emulator(inference, run)
    return inference, flow


def report_emulator(inference: Inference, run: RunFolder) -> None:
    """What a manifest keeps of a bent local mean."""
    local, fitted = inference.local, inference.fitted_mean
    if local is None or local.bend is None:
        return
    stray = float(local.stray.std(0)[fitted].median())  # infinite where a run lies far off
    run.update(
        emulator={
            "runs": local.runs, "curvature": local.bend.curvature,
            "error_median": float(local.bend.typical_error[fitted].median()), "stray_median": stray if math.isfinite(stray) else None,
        }
    )  # fmt: skip


def simulate_round(
    inference: Inference, z: Tensor, number: int, run: RunFolder, console: Console, problem: str, seed: int
) -> Tensor:
    """Outputs `[V, M]` of runs of the country at `z [V, D]`; a killed run goes on with those it had."""
    seed = derive_seed(seed, number, "round-runs")
    with steps(console, f"round {number + 1}", len(z)) as advance:

        def made(runs: int, now: bool) -> None:
            advance(runs)
            if now:
                run.count("rounds", runs)

        return kept_runs(
            run.path / f"round_{number + 1}.safetensors",
            problem,
            z,
            COUNTRY_BATCH,
            lambda part, start: inference.values(part, seed, start),
            made,
        )


def _differentiate(study: Study, z: Tensor, number: int, run: RunFolder, console: Console) -> tuple[Tensor, Tensor]:
    """Outputs `[N, M]` at `z [N, D]` and their Jacobians `[N, M, D]`."""
    seed, batch, rows = derive_seed(study.config.seed, number, "round-slopes"), study.config.warm_particles, []
    with steps(console, f"slopes {number + 1}", len(z)) as advance, torch.no_grad():
        for start in range(0, len(z), batch):
            part = z[start : start + batch]
            rows.append(study.slope_short.jacobian(part, seed, torch.arange(start, start + len(part))))
            run.count("round_jacobians", len(part))
            advance(len(part))
    outputs, slopes = zip(*rows, strict=True)
    return torch.cat(outputs), torch.cat(slopes)


def save_pool(pool: Pool, file: Path, problem: str) -> None:
    """Keep it: a killed run goes on from there."""
    weights = {f"flow/{name}": x.detach() for name, x in pool.flow.items()}
    runs = {name: getattr(pool, name).contiguous() for name in RUNS}
    save_tensors(file, {**runs, "rounds": torch.tensor(pool.rounds), **weights}, problem)


def load_pool(file: Path, problem: str) -> Pool:
    """The pool of a run that was begun."""
    kept = load_tensors(file, problem, (*RUNS, "rounds"), "remove it, and the rounds are done again")
    flow = {name.removeprefix("flow/"): x for name, x in kept.items() if name.startswith("flow/")}
    return Pool(**{name: kept[name] for name in RUNS}, flow=flow, rounds=int(kept["rounds"]))
