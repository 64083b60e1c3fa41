"""Rounds of runs of a larger part of the country where the fit has come to, from which the local mean learns its curvature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from calib import Flow, fit, rich_progress
from calib._kept_tensors import load_tensors, save_tensors
from calib._noise import derive_seed
from calib._runfolder import RunFolder
from calib._warm_start import WarmStart
from experiments.nz_calibration._inference import COUNTRY_BATCH, Inference
from experiments.nz_calibration._kept_runs import kept_runs
from experiments.nz_calibration._sampler import ROUND, chains
from experiments.nz_calibration._study import Study, fit_settings, report_failed, steps

FILE = "rounds.safetensors"
ROUND_STEPS = 500
"""Steps of the fits between rounds, which only tell where to simulate next."""


@dataclass(frozen=True, eq=False)
class Pool:
    """What the rounds have come to.

    Attributes:
        z: `[V, D]` and values `[V, M]`, runs of the country without Jacobians. flow: weights of the flow. rounds: how many are done.
    """

    z: Tensor
    values: Tensor
    flow: dict[str, Tensor]
    rounds: int


def explore(
    study: Study, inference: Inference, warm: WarmStart, flow: Flow, run: RunFolder, console: Console
) -> tuple[Inference, Flow]:
    """Fit, draw from the posterior of the local mean, run the country there, learn from these runs, and again.

    A killed run goes on with the round that it was in.

    Returns:
        The likelihood by the local mean that the last round left, and the flow to go on from.
    """
    config, file, problem = study.config, run.path / FILE, study.fingerprint()
    pool = (
        _load(file, problem) if file.exists() else Pool(warm.z.new_zeros(0, len(warm.z)), warm.z.new_zeros(0, 0), {}, 0)
    )
    if pool.rounds:
        flow.load_state_dict(pool.flow)
        inference = replace(inference, local=study.local(warm, (pool.z, pool.values)))
    for number in range(pool.rounds, config.rounds):
        settings = replace(fit_settings(config, local=True), max_steps=min(ROUND_STEPS, config.max_steps))
        with run.phase(f"fit_{number + 1}"), rich_progress(console) as progress:
            flow = fit(inference.local_problem(problem), flow, settings, progress=progress).flow
        generator = torch.Generator().manual_seed(derive_seed(config.seed, number, "round"))
        with run.phase(f"draws_{number + 1}"):
            found = chains(
                inference,
                flow,
                derive_seed(config.seed, number, "round-draws"),
                console,
                min(ROUND, config.chain_draws),
            )
            z = found.draws(config.round_runs, generator)
        with run.phase(f"round_{number + 1}"):
            values = _simulate(inference, z, number, run, console, problem, config.seed)
        good = torch.isfinite(values).all(1)
        report_failed(good, run, "runs of a round")
        both = (torch.cat([pool.z, z[good]]), torch.cat([pool.values, values[good]]) if pool.rounds else values[good])
        pool = Pool(*both, flow.state_dict(), number + 1)
        _save(pool, file, problem)
        inference = replace(inference, local=study.local(warm, both))
        flow.requires_grad_(True)
    local = inference.local
    assert local is not None
    bend = local.bend
    if bend is not None:
        fitted = inference.fitted_mean
        run.update(
            emulator={
                "runs": local.runs, "linear": bend.linear, "quadratic": bend.quadratic,
                "error_median": float(bend.typical_error[fitted].median()), "stray_median": float(local.stray.std(0)[fitted].median()),
            }
        )  # fmt: skip
    return inference, flow


def _simulate(
    inference: Inference, z: Tensor, number: int, run: RunFolder, console: Console, problem: str, seed: int
) -> Tensor:
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


def _save(pool: Pool, file: Path, problem: str) -> None:
    weights = {f"flow/{name}": x.detach() for name, x in pool.flow.items()}
    save_tensors(file, {"z": pool.z, "values": pool.values, "rounds": torch.tensor(pool.rounds), **weights}, problem)


def _load(file: Path, problem: str) -> Pool:
    kept = load_tensors(file, problem, ("z", "values", "rounds"), "remove it, and the rounds are done again")
    flow = {name.removeprefix("flow/"): x for name, x in kept.items() if name.startswith("flow/")}
    return Pool(kept["z"], kept["values"], flow, int(kept["rounds"]))
