"""Time one gradient of the chains with and without each of its compiled or closed-form parts, side by side in one run.

`python -m experiments.benchmark_emulator` builds the tiny New Zealand of a smoke run, an emulator with as many runs as a default
calibration has, and the flow of its chains, and prints the time of a gradient for 64 chains over that with everything on.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from calib import RunFolder, make_flow, start_flow
from calib.multifidelity import Emulator, EmulatorPosterior, Problem, WithErrors, fit_quadratic
from calib.numerics import Layer, ThreadTuner, kernel_threads
from epi.inference.settings import make_config
from epi.inference.setup import Study, build, read_data

CHAINS, RUNS, ROUNDS = 64, 174, 40
Gradient = Callable[[], None]


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        config = make_config("experiments.nz_calibration.study", smoke=True, device="cpu")
        run = RunFolder.create(Path(folder) / "run", "benchmark", config.identity(), config.seed)
        study = build(config, read_data(config), run, Console(quiet=True))
    problem, emulator = study.problem, _emulator(study)
    plain = _without_compiled_features(problem, emulator)
    own, graph = _gradient(problem, emulator), _gradient(*plain)
    variants: dict[str, tuple[Gradient, Callable[[], Any]]] = {
        "everything, one thread": (own, lambda: _threads(1)),
        "feature map by autograd": (graph, lambda: _threads(1)),
        "flow layers by autograd": (own, _layers_by_autograd),
        "all threads": (own, lambda: _threads(kernel_threads())),
        "threads tuned": (_gradient(problem, emulator), _nothing),
    }
    wall: dict[str, list[float]] = {name: [] for name in variants}
    busy: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(ROUNDS):
        for name, (gradient, around) in variants.items():
            with around():
                start, begun = time.perf_counter(), time.process_time()
                gradient()
                if number >= ROUNDS // 2:  # the first calls compile and try threads
                    wall[name].append(time.perf_counter() - start)
                    busy[name].append(time.process_time() - begun)
    base = [statistics.median(x["everything, one thread"]) for x in (wall, busy)]
    print(f"{'':26s} {'ms':>8s} {'ratio':>6s} {'CPU ms':>8s} {'ratio':>6s}")
    for name in variants:
        times = [statistics.median(x[name]) for x in (wall, busy)]
        print(
            f"{name:26s} {1e3 * times[0]:8.2f} {times[0] / base[0]:6.2f} {1e3 * times[1]:8.2f} {times[1] / base[1]:6.2f}"
        )
    print(
        f"{kernel_threads()} threads, {problem.space.dim} parameters, {len(problem.observations.which)} observations, {RUNS} runs"
    )


def _emulator(study: Study) -> Emulator:
    g, features = torch.Generator().manual_seed(0), study.problem.feature_map
    z = 0.3 * torch.randn(RUNS, study.space.dim, generator=g)
    x, outputs = features(z), len(study.problem.people_per_agent)  # type: ignore[arg-type]
    x = x - x.mean(0)
    slope = 0.1 * torch.randn(outputs, x.shape[1], generator=g)
    residual = 0.05 * x[:, :1] * x[:, 1:2] + 0.1 * torch.randn(RUNS, outputs, generator=g)
    term = fit_quadratic(x, residual - residual.mean(0), slope, None, study.problem.wanted)
    return Emulator(features(z).mean(0), torch.full((outputs,), 4.0), slope, residual, features, term)


def _without_compiled_features(problem: Problem, emulator: Emulator) -> tuple[Problem, Emulator]:
    def features(z: Tensor) -> Tensor:  # a function has no reverse mode of its own
        return problem.feature_map(z)

    return replace(problem, feature_map=features), replace(emulator, feature_map=features)


def _gradient(problem: Problem, emulator: Emulator) -> Gradient:
    flow = make_flow("gaussian", problem.space.dim, seed=0, hierarchy=problem.hierarchy)
    start_flow(flow, torch.zeros(problem.space.dim), 0.09 * torch.eye(problem.space.dim))
    posterior = EmulatorPosterior(problem, emulator)
    errors = posterior.shared_error(torch.zeros(problem.space.dim))
    joint, coordinates = posterior.joint(errors), WithErrors(flow, errors.count)
    noise = coordinates.noise(CHAINS, torch.Generator().manual_seed(1))

    def gradient() -> None:
        z, log_q, back = coordinates.with_back(noise)
        _, slope = joint.with_slope(z)
        back(slope, -torch.ones_like(log_q))

    return gradient


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _layers_by_autograd() -> Iterator[None]:
    choose = ThreadTuner.choose
    ThreadTuner.choose = lambda self, limit: 1  # type: ignore[method-assign]
    kinds = [kind for kind in Layer.__subclasses__() if "push_with_back" in vars(kind)]
    own = [kind.push_with_back for kind in kinds]
    for kind in kinds:
        kind.push_with_back = Layer.push_with_back  # type: ignore[method-assign]
    try:
        yield
    finally:
        ThreadTuner.choose = choose  # type: ignore[method-assign]
        for kind, method in zip(kinds, own, strict=True):
            kind.push_with_back = method  # type: ignore[method-assign]


@contextmanager
def _threads(number: int) -> Iterator[None]:
    choose = ThreadTuner.choose
    ThreadTuner.choose = lambda self, limit: min(number, limit)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ThreadTuner.choose = choose  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
