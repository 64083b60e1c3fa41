"""The work of an audit: pieces that run by themselves, in this process or in several, and what each adds to the tables."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import NamedTuple

import pandas as pd
import torch

from experiments.gradient_audit._cost import cost_in_runs
from experiments.gradient_audit._rows import Store, provenance
from experiments.gradient_audit._truth import differences, pilot_step, simulate
from experiments.gradient_audit.estimators import ESTIMATORS, sample
from experiments.gradient_audit.worlds import WORLDS, World

__all__ = ["Plan", "compute"]

FEWEST = 20
"""Runs of an estimator at least, however few are asked for."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        worlds: names of worlds.
        estimators: names of estimators.
        seeds: runs of a cheap estimator in each world, the others in proportion; 0 for each world's own number.
        seed: of the runs; truths take the next.
        wanted: relative standard error at which a truth by differences has enough streams.
        streams: of a truth by differences at most; 0 for each world's own number.
        device: of the epidemics.
        everywhere: run the expensive estimators in every world.
        rerun: compute also what is there.
        timing: seconds that a cost is timed for, three times; 0 for none.
    """

    worlds: tuple[str, ...]
    estimators: tuple[str, ...]
    seeds: int = 0
    seed: int = 0
    wanted: float = 0.01
    streams: int = 0
    device: str = "cpu"
    everywhere: bool = False
    rerun: bool = False
    timing: float = 0.1


class _Piece(NamedTuple):
    """One piece of work: the truth in a parameter (of all, where exact), or an estimator, in one world."""

    world: str
    estimator: str
    parameter: str
    runs: int


def compute(plan: Plan, store: Store, workers: int, report: Callable[[str, int, int], None]) -> None:
    """Do what the plan asks for and the store lacks; rows are on disk after each piece.

    Args:
        plan: what to run.
        store: where rows are kept.
        workers: processes; with one, everything runs in this process.
        report: told what was done last, how many pieces are done, and how many there are.
    """
    pieces = list(_pieces(plan, store))
    report("starting", 0, len(pieces))
    if workers == 1:
        for done, piece in enumerate(pieces, 1):
            _add(store, piece, _run(plan, piece))
            report(_label(piece), done, len(pieces))
        return
    # each process uses one thread; a new process reads these settings when it starts
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = {pool.submit(_run, plan, piece): piece for piece in pieces}
        for done, future in enumerate(as_completed(futures), 1):
            _add(store, futures[future], future.result())
            report(_label(futures[future]), done, len(pieces))


def _pieces(plan: Plan, store: Store) -> Iterator[_Piece]:
    for name in plan.worlds:
        world = _world(name)
        mark = world.fingerprint()
        lacking = [q for q in world.parameters if plan.rerun or not store.has_truth(name, mark, q)]
        if lacking:
            for parameter in ("",) if world.exact else lacking:
                yield _Piece(name, "", parameter, 0)
        for estimator in plan.estimators:
            chosen = ESTIMATORS[estimator]
            if not (chosen.everywhere or world.compared or plan.everywhere) or (
                world.reinfection and not chosen.knows_reinfection
            ):
                continue
            runs = chosen.runs(world)
            if plan.seeds:
                runs = max(FEWEST, round(runs * plan.seeds / world.runs))
            if plan.rerun or not store.has_runs(name, mark, estimator, runs, plan.seed):
                yield _Piece(name, estimator, "", runs)


@lru_cache(maxsize=2)
def _world(name: str) -> World:
    return WORLDS[name]()


def _run(plan: Plan, piece: _Piece) -> pd.DataFrame:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        world = _world(piece.world)
        truth = _exact if world.exact else _difference
        rows = (_estimate if piece.estimator else truth)(plan, world, piece)
        return rows.assign(world=world.name, fingerprint=world.fingerprint(), **provenance(plan.device))
    finally:
        torch.set_num_threads(threads)


def _estimate(plan: Plan, world: World, piece: _Piece) -> pd.DataFrame:
    begun = time.perf_counter()
    drawn = sample(world, piece.estimator, plan.seed, piece.runs, plan.device)
    seconds = time.perf_counter() - begun
    mean, sd = drawn.gradient.mean(0), drawn.gradient.std(0, ddof=1)
    cost = cost_in_runs(world, piece.estimator, plan.device, plan.timing) if plan.timing else float("nan")
    rows = [
        {
            "outcome": outcome, "parameter": parameter, "expectation": drawn.outcome[:, o].mean(), "gradient": mean[o, q],
            "standard_error": sd[o, q] / piece.runs**0.5, "sd": sd[o, q],
        }
        for o, outcome in enumerate(world.outcomes)
        for q, parameter in enumerate(world.parameters)
    ]  # fmt: skip
    same = {"estimator": piece.estimator, "agents": world.people.agents, "runs": piece.runs, "cost": cost}
    return pd.DataFrame(rows).assign(**same, seconds=seconds, seed=plan.seed)


def _exact(plan: Plan, world: World, piece: _Piece) -> pd.DataFrame:
    assert world.exact is not None
    answer = world.exact()
    rows = [
        {
            "outcome": outcome,
            "parameter": parameter,
            "expectation": answer.expectation[o],
            "derivative": answer.derivative[o, q],
        }
        for o, outcome in enumerate(world.outcomes)
        for q, parameter in enumerate(world.parameters)
    ]
    return pd.DataFrame(rows).assign(method=world.method, standard_error=0.0, step=0.0, streams=0, seed=0)


def _difference(plan: Plan, world: World, piece: _Piece) -> pd.DataFrame:
    q, seed = world.parameters.index(piece.parameter), plan.seed + 1
    run, batch = simulate(world, seed, plan.device)
    step = pilot_step(world, q, seed, plan.device)
    found = differences(run, len(world.parameters), q, step, plan.wanted, plan.streams or world.streams, batch)
    rows = {
        "outcome": list(world.outcomes), "parameter": piece.parameter, "method": world.method, "expectation": found.level,
        "derivative": found.value, "standard_error": found.standard_error, "step": step, "streams": len(found.small),
        "seed": seed,
    }  # fmt: skip
    return pd.DataFrame(rows)


def _add(store: Store, piece: _Piece, rows: pd.DataFrame) -> None:
    (store.add_runs if piece.estimator else store.add_truth)(rows)


def _label(piece: _Piece) -> str:
    return f"{piece.world} {piece.estimator or 'truth ' + piece.parameter}"
