"""Federations of a study's data: in this process, or each site in a process of its own on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd

from calib.federated import (
    FederatedObservations,
    Federation,
    GlooTransport,
    InProcess,
    Site,
    Sums,
    coordinator_store,
    without_data,
)
from calib.multifidelity import Problem
from epi.data import Layout
from experiments.federated._holders import fingerprint, observations, write

ROOT = Path(__file__).parents[2]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def in_process(problem: Problem, layout: Layout, found: Mapping[str, pd.DataFrame], sums: Sums) -> Problem:
    """The problem with its data at sites in this process."""
    public = fingerprint(layout, problem.space)
    sites = [Site(name, observations(table, layout, problem.space), public) for name, table in found.items()]
    return _with(problem, layout, found, Federation(InProcess(sites), public, sums=sums))


@contextmanager
def processes(
    problem: Problem,
    layout: Layout,
    found: Mapping[str, pd.DataFrame],
    sums: Sums,
    *,
    study: str,
    folder: Path,
    seconds: float = 600.0,
    notice: Callable[[str], None] = lambda text: None,
) -> Iterator[Problem]:
    """The problem with each site in a process of its own, which reads its own folder; all have ended on leaving."""
    places = write(folder, found)
    store = coordinator_store(len(places))
    command = [sys.executable, "-m", "experiments.federated.site", "--study", study, "--sites", str(len(places))]
    started = [
        subprocess.Popen(
            [*command, "--folder", str(place.resolve()), "--rank", str(i + 1), "--port", str(store.port)],
            cwd=ROOT, env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL,
        )
        for i, place in enumerate(places)
    ]  # fmt: skip
    transport = None
    try:
        transport = GlooTransport(store, len(places), seconds)
        public = fingerprint(layout, problem.space)
        federation = Federation(transport, public, sums=sums, seconds=seconds, patience=seconds, notice=notice)
        yield _with(problem, layout, found, federation)
    finally:
        if transport is not None:
            transport.close()
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _with(problem: Problem, layout: Layout, found: Mapping[str, pd.DataFrame], federation: Federation) -> Problem:
    public = {name: without_data(observations(table, layout, problem.space)) for name, table in found.items()}
    return replace(problem, observations=FederatedObservations(federation, public, problem.space.dim))
