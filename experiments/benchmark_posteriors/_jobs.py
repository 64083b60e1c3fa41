"""Many runs at once, each in a process of its own; every row is on disk as soon as it is there."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from calib.baselines import AMORTISED
from calib.storage import atomic_write_csv
from experiments.benchmark_posteriors._run import run
from experiments.benchmark_posteriors._tasks import task

KEY = ["task", "observation", "budget", "method"]
RESTARTS = 3  # times that the workers are started again after one was killed


@dataclass(frozen=True)
class Job:
    """What is to be run: a method on an observation of a task, with a budget."""

    task: str
    observation: int
    budget: int
    method: str

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What names it in the table of rows."""
        return (self.task, self.observation, self.budget, self.method)


def plan(
    tasks: list[str], budgets: list[int], observations: int, methods: list[str], done: set[tuple[Any, ...]]
) -> list[Job]:
    """Jobs that are not done, in the order of the methods; those that share a network follow each other.

    Args:
        tasks: names of tasks.
        budgets: simulations.
        observations: how many of the ten.
        methods: a method for all budgets, or `method:budget` for one.
        done: keys of the rows that are there.

    Returns:
        The jobs.
    """
    jobs = {}
    for entry in methods:
        method, _, only = entry.partition(":")
        for budget in [int(only)] if only else budgets:
            numbers = range(1, observations + 1)
            pairs = [(name, number) for number in numbers for name in tasks]
            if method in AMORTISED:
                pairs.sort(key=lambda pair: tasks.index(pair[0]))
            for name, number in pairs:
                job = Job(name, number, budget, method)
                if job.key not in done:
                    jobs[job.key] = job
    return list(jobs.values())


def share(jobs: list[Job], workers: int = 1) -> list[list[Job]]:
    """Jobs in the same order, those of one network together: they run in one process, which trains it once.

    Where that leaves workers without a job, the largest groups are halved: the same network, trained twice, is there sooner.
    """
    groups: list[list[Job]] = []
    for job in jobs:
        last = groups[-1][-1] if groups else None
        alike = last is not None and (last.task, last.budget, last.method) == (job.task, job.budget, job.method)
        if alike and job.method in AMORTISED:
            groups[-1].append(job)
        else:
            groups.append([job])
    while len(groups) < min(workers, len(jobs)):
        at = max(range(len(groups)), key=lambda i: len(groups[i]))
        whole, half = groups[at], (len(groups[at]) + 1) // 2
        groups[at : at + 1] = [whole[:half], whole[half:]]
    return groups


def measure(jobs: list[Job], output: Path, reference: Path, seed: int, workers: int, machine: str = "") -> pd.DataFrame:
    """Run jobs; `rows.csv` in the folder grows by each that ends, `failed.csv` holds those that raised.

    Args:
        jobs: what to run.
        output: folder.
        reference: folder of the reference posteriors.
        seed: of everything random.
        workers: processes of one thread each; 1 runs in this process.
        machine: named in every row, as a folder may be resumed elsewhere.

    Returns:
        All rows, those of an earlier run in the same folder included.

    Raises:
        RuntimeError: processes were killed again and again.
    """
    file = output / "rows.csv"
    rows = pd.read_csv(file).to_dict("records") if file.exists() else []
    failed: list[dict[str, Any]] = []
    (output / "failed.csv").unlink(missing_ok=True)
    started = time.perf_counter()
    for index, (job, row, reason) in enumerate(_rows(jobs, reference, seed, workers)):
        if row is None:
            failed.append(dict(zip(KEY, job.key, strict=True)) | {"reason": reason})
            atomic_write_csv(output / "failed.csv", pd.DataFrame(failed))
            said = f"failed: {reason}"
        else:
            rows.append(row | {"machine": machine})
            atomic_write_csv(file, pd.DataFrame(rows))
            said = (
                f"C2ST {row['c2st']:.3f}, {row['simulations']} simulations, {row['seconds']:.1f} s "
                f"({row['flow']}; {row['note']})"
            )
        left = (time.perf_counter() - started) / (index + 1) * (len(jobs) - index - 1)
        print(
            f"[{index + 1}/{len(jobs)}] {job.task} {job.observation}, budget {job.budget}, {job.method}: {said}; {left / 60:.0f} min left",
            flush=True,
        )
    return pd.DataFrame(rows)


Outcome = tuple[Job, dict[str, Any] | None, str]


def _rows(jobs: list[Job], reference: Path, seed: int, workers: int) -> Iterator[Outcome]:
    if workers == 1:
        yield from (_one(job, reference, seed) for job in jobs)
        return
    left, deaths = list(jobs), 0
    while left:
        ended: set[Job] = set()
        try:
            for outcome in _parallel(left, lambda pool, job: pool.submit(_one, job, reference, seed), workers):
                ended.add(outcome[0])
                yield outcome
        except BrokenProcessPool:
            deaths += 1
            if deaths > RESTARTS:
                raise RuntimeError(
                    f"a worker was killed {deaths} times, the last with {len(left) - len(ended)} jobs left; rows that ended are "
                    "kept: run the same command with fewer --workers, as memory may be short."
                ) from None
        left = [job for job in left if job not in ended]


def _parallel(
    jobs: list[Job], submit: Callable[[ProcessPoolExecutor, Job], Future[Outcome]], workers: int
) -> Iterator[Outcome]:
    """Outcomes as they come; what shares a network goes to one process, and the order is kept whatever each job takes."""
    waiting = iter(share(jobs, workers))
    spawn = multiprocessing.get_context("spawn")
    pools = [
        ProcessPoolExecutor(1, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,))
        for _ in range(workers)
    ]
    running: dict[Future[Outcome], tuple[ProcessPoolExecutor, Iterator[Job]]] = {}

    def go_on(pool: ProcessPoolExecutor, group: Iterator[Job]) -> None:
        job = next(group, None)
        if job is None:
            group = iter(next(waiting, []))
            job = next(group, None)
        if job is not None:
            running[submit(pool, job)] = (pool, group)

    try:
        for pool in pools:
            go_on(pool, iter([]))
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                pool, group = running.pop(future)
                yield future.result()
                go_on(pool, group)
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)


def _one(job: Job, reference: Path, seed: int) -> Outcome:
    """One row, or why there is none: a method that fails on one observation must not end the others."""
    try:
        return job, asdict(run(task(job.task), job.observation, job.budget, job.method, reference, seed)), ""
    except FileNotFoundError:
        raise
    except Exception as error:
        return job, None, f"{type(error).__name__}: {error}".replace("\n", " ")
