"""The audit itself: truth, samples and costs of every world, as tables, in as many processes as are given."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from experiments.gradient_audit._estimates import VARIANTS, Sample, sample
from experiments.gradient_audit._pieces import load_piece, piece_path, save_piece
from experiments.gradient_audit._probe import Cost, cost
from experiments.gradient_audit._table import difference_rows, missing_rows, order, sampled_rows
from experiments.gradient_audit._truth import fingerprint, truth_table
from experiments.gradient_audit._world import DAYS, population, result_mib

TAPED_AT_MOST = 200_000
"""Agents from which on estimators with a tape are not run: 60 days of them take some 5 GiB and minutes a run."""
MEMORY_METHODS = {"ours": "local-score", "tape": "straight-through", "checkpointed tape": "straight-through"}
"""Name in the memory table, and the estimator behind it."""


@dataclass(frozen=True)
class Plan:
    """How much to run.

    Attributes:
        sizes: agents. levels: of `LEVELS`. seed: of the sampled runs; truth takes the next.
        wanted: relative standard error of the truth at which its runs stop.
        most: streams of the truth at 10,000 agents at most, in proportion fewer of larger ones.
        ours: runs of the local score at 20,000 agents or fewer. taped: of an estimator with a tape at 10,000 or fewer.
        fewest: of either at any size.
        everywhere: run estimators with a tape at every attack rate of every size, not at the middle one alone above 20,000 agents.
        memory_agents, memory_days: of the memory table; no days, no table.
        estimators: names of `VARIANTS` to run.
    """

    sizes: tuple[int, ...]
    levels: tuple[str, ...]
    seed: int
    wanted: float
    most: int
    ours: int
    taped: int
    fewest: int
    everywhere: bool
    memory_agents: int
    memory_days: tuple[int, ...]
    estimators: tuple[str, ...] = tuple(VARIANTS)

    @property
    def middle(self) -> str:
        """The attack rate at which time and memory are measured."""
        return self.levels[len(self.levels) // 2]

    def runs(self, name: str, agents: int, level: str) -> int:
        """Runs of an estimator in one world."""
        if not VARIANTS[name].taped:
            return max(self.fewest, round(self.ours * min(1.0, 20_000 / agents)))
        return (
            0 if self.why_not(name, agents, level) else max(self.fewest, round(self.taped * min(1.0, 10_000 / agents)))
        )

    def why_not(self, name: str, agents: int, level: str) -> str:
        """Why an estimator is not run in a world; empty where it is."""
        if VARIANTS[name].taped and agents > TAPED_AT_MOST:
            return f"not run: a tape over {DAYS} days of {agents:,} agents"
        if VARIANTS[name].taped and agents > 20_000 and level != self.middle and not self.everywhere:
            return f"not run: at {agents:,} agents tapes run at one attack rate; --thorough runs all"
        return ""


@dataclass(frozen=True)
class Audit:
    """The three tables: `table` as `_table.COLUMNS`, `truth` as `_truth.truth_table`, `memory` (empty if not asked for)."""

    table: pd.DataFrame
    truth: pd.DataFrame
    memory: pd.DataFrame


def audit(
    plan: Plan,
    known: pd.DataFrame | None,
    workers: int,
    folder: Path,
    report: Callable[[str, int, int], None],
    earlier: pd.DataFrame | None = None,
) -> Audit:
    """Run the plan.

    Args:
        plan: how much.
        known: a truth table to take from where the world is the same; what it lacks is computed.
        workers: processes; each uses one thread.
        folder: where pieces are kept; those of an earlier run with the same settings are taken from there.
        report: told what was done last, how many pieces are done and how many there are.
        earlier: a table whose rows of estimators that the plan leaves out are taken over; the caller knows that its truth is the same.
    """
    worlds = [(agents, level) for agents in plan.sizes for level in plan.levels]
    done: dict[Hashable, Any] = {("truth", *w): _known(known, *w) for w in worlds}
    done = {key: value for key, value in done.items() if value is not None}
    # kernels of every process run on one thread; a new process reads the setting when it starts
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    wanted = [work for work in _work(plan, worlds) if work.key not in done]
    paths = {work.key: piece_path(folder, work.key, work.arguments) for work in wanted}
    done |= {key: value for key, path in paths.items() if (value := load_piece(path)) is not None}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = {pool.submit(w.function, *w.arguments): w.key for w in wanted if w.key not in done}
        for number, future in enumerate(as_completed(futures), 1):
            key = futures[future]
            done[key] = future.result()
            save_piece(paths[key], done[key])
            report(" ".join(f"{x:,}" if isinstance(x, int) else str(x) for x in key), number, len(futures))
    rows: list[dict[str, object]] = []
    for agents, level in worlds:
        rows += _rows(plan, agents, level, done)
    if earlier is not None:
        left_out = earlier[~earlier["estimator"].isin([*plan.estimators, "finite-difference"])]
        rows += left_out[left_out["agents"].isin({r["agents"] for r in rows})].to_dict("records")
    truth = pd.concat([done["truth", *w] for w in worlds], ignore_index=True)
    memory = [
        {"method": m, "days": d, **done["memory", m, d], "result_mib": result_mib(plan.memory_agents, plan.middle, d)}
        for m in MEMORY_METHODS
        for d in plan.memory_days
    ]
    return Audit(order(pd.DataFrame(rows)), truth, pd.DataFrame(memory))


class _Work(NamedTuple):
    """A function to call in a process, under the key that its result is kept by."""

    key: tuple[Any, ...]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def _work(plan: Plan, worlds: list[tuple[int, str]]) -> Iterator[_Work]:
    """Every piece of work, long ones first."""
    for agents, level in worlds:
        most = max(16, round(plan.most * 10_000 / agents))
        yield _Work(("truth", agents, level), truth_table, (agents, level, plan.seed + 1, plan.wanted, most))
    for days in sorted(plan.memory_days, reverse=True):
        for method, name in MEMORY_METHODS.items():
            segment = math.isqrt(days) if method == "checkpointed tape" else 0
            yield _Work(("memory", method, days), cost, (plan.memory_agents, plan.middle, name, days, segment))
    for agents in plan.sizes:
        for name in plan.estimators:
            for level in plan.levels:
                if runs := plan.runs(name, agents, level):
                    yield _Work((name, agents, level), sample, (agents, level, name, plan.seed, runs))
            if plan.runs(name, agents, plan.middle):
                yield _Work(("cost", name, agents), cost, (agents, plan.middle, name, DAYS))


def _rows(plan: Plan, agents: int, level: str, done: dict[Hashable, Any]) -> list[dict[str, object]]:
    truth: pd.DataFrame = done["truth", agents, level]
    people = int(truth["agents"].iloc[0])
    ours: Sample = done[plan.estimators[0], agents, level]
    attack_rate = float(ours.total.mean()) / people
    rows = difference_rows(truth, attack_rate, done["cost", plan.estimators[0], agents]["forward_mib"])
    for name in plan.estimators:
        variant = VARIANTS[name]
        drawn: Sample | None = done.get((name, agents, level))
        if drawn is None:
            rows += missing_rows(name, truth, attack_rate, plan.why_not(name, agents, level))
            continue
        found: Cost = done["cost", name, agents]
        peaks = [x for x in (found["forward_mib"], found["reverse_mib"]) if x is not None]
        seconds = found["forward_seconds"] + found["reverse_seconds"]
        reached = float(drawn.total.mean()) / people
        note = "" if variant.options.hard else f"another epidemic: {100 * reached:.0f} % infected"
        rows += sampled_rows(name, drawn, truth, attack_rate, seconds, max(peaks) if peaks else None, note)
    return rows


def _known(known: pd.DataFrame | None, agents: int, level: str) -> pd.DataFrame | None:
    """The rows of a known truth that belong to this world, if there are any."""
    if known is None:
        return None
    lacking = {"agents", "level", "parameter", "derivative", "standard_error", "fingerprint"} - set(known.columns)
    if lacking:
        raise ValueError(
            f"Found a truth table without {', '.join(sorted(lacking))}, expected truth.csv of an audit; give another file."
        )
    mine = known[known["fingerprint"] == fingerprint(population(agents, 0), level)]
    return None if mine.empty else mine.reset_index(drop=True)
