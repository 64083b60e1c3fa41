"""What others would do with the same model: SALib, differences, sbi. Each gives a score an input, its runs and its seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from calib.baselines import SilentTracker
from epi.errors import StudyError

Array = NDArray[np.float64]
STEP = 0.25


class Evaluate(Protocol):
    """`z [run, D]`, replicate and streams `[run]` to values `[run]`."""

    def __call__(self, z: Array, replicate: int, streams: NDArray[np.int64]) -> Array:
        """Values of runs."""
        ...


@dataclass(frozen=True)
class Answer:
    """What a method says.

    Attributes:
        method: its name. score: `[D]`, larger for inputs that matter more. runs: simulations. gradients: reverse passes.
        seconds: simulating and computing. note: what to know of it. distribution: "prior" or "posterior" or "one point".
    """

    method: str
    score: Array
    runs: int
    gradients: int
    seconds: float
    note: str = ""
    distribution: str = "prior"


def _problem(dim: int) -> dict[str, Any]:
    return {
        "num_vars": dim, "names": [f"x{i}" for i in range(dim)], "bounds": [[0.0, 1.0]] * dim, "dists": ["norm"] * dim,
    }  # fmt: skip


def _filled(values: Array) -> tuple[Array, int]:
    """SALib knows no failed runs: they are given the mean, and counted."""
    bad = ~np.isfinite(values)
    if bad.all():
        raise StudyError("Every run of a baseline failed; the inputs are out of the model's range.")
    return np.where(bad, values[~bad].mean(), values), int(bad.sum())


def _note(failed: int, text: str = "") -> str:
    return "; ".join(x for x in (text, f"{failed} failed runs replaced by the mean" if failed else "") if x)


def morris(evaluate: Evaluate, dim: int, trajectories: int, seed: int) -> Answer:
    """SALib's Morris `mu*` over the central 96 % of each prior."""
    from SALib.analyze.morris import analyze
    from SALib.sample.morris import sample

    start = time.perf_counter()
    problem = _problem(dim) | {"bounds": [[0.02, 0.98]] * dim, "dists": ["unif"] * dim}
    unit = sample(problem, trajectories, num_levels=4, seed=seed)
    values, failed = _filled(evaluate(norm.ppf(unit), 200, np.arange(len(unit))))
    with redirect_stdout(StringIO()):
        found = analyze(problem, unit, values, num_levels=4, seed=seed)
    return Answer(
        "SALib Morris", np.asarray(found["mu_star"]), len(unit), 0, time.perf_counter() - start, _note(failed)
    )


def sobol_salib(evaluate: Evaluate, dim: int, count: int, seed: int) -> Answer:
    """SALib's total Sobol index."""
    from SALib.analyze.sobol import analyze
    from SALib.sample.sobol import sample

    start = time.perf_counter()
    problem = _problem(dim)
    z = sample(problem, count, calc_second_order=False, seed=seed)
    values, failed = _filled(evaluate(z, 201, np.arange(len(z))))
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        found = analyze(problem, values, calc_second_order=False, num_resamples=10, seed=seed)
    return Answer("SALib Sobol", np.asarray(found["ST"]), len(z), 0, time.perf_counter() - start, _note(failed))


def dgsm_salib(evaluate: Evaluate, dim: int, count: int, seed: int) -> Answer:
    """SALib's DGSM by finite differences, as it stands: its steps and constant are not those of a normal prior."""
    from SALib.analyze.dgsm import analyze
    from SALib.sample.finite_diff import sample

    start = time.perf_counter()
    problem = _problem(dim)
    z = sample(problem, count, delta=0.01, seed=seed)
    streams = np.arange(len(z)) // (dim + 1)
    values, failed = _filled(evaluate(z, 202, streams))
    with np.errstate(all="ignore"), redirect_stdout(StringIO()):
        found = analyze(problem, z, values, num_resamples=10, seed=seed)
    score = np.nan_to_num(np.asarray(found["dgsm"]), nan=0.0, posinf=0.0)
    return Answer("SALib DGSM", score, len(z), 0, time.perf_counter() - start, _note(failed, "wrong for normal priors"))


def dgsm_differences(evaluate: Evaluate, dim: int, count: int, seed: int) -> Answer:
    """`E[(df/dz)^2]` by one-sided differences in z with common random numbers."""
    start = time.perf_counter()
    z = np.random.default_rng([seed, 203]).standard_normal((count, dim))
    points = np.repeat(z[:, None], dim + 1, 1)
    points[:, np.arange(1, dim + 1), np.arange(dim)] += STEP
    streams = np.repeat(np.arange(count), dim + 1)
    values = evaluate(points.reshape(-1, dim), 203, streams).reshape(count, dim + 1)
    slope = (values[:, 1:] - values[:, :1]) / STEP
    good = np.isfinite(slope).all(1)
    score = (slope[good] ** 2).mean(0)
    note = _note(0, f"{int((~good).sum())} draws with failed runs dropped" if not good.all() else "")
    return Answer("DGSM by differences", score, values.size, 0, time.perf_counter() - start, note)


def one_at_a_time(evaluate: Evaluate, dim: int, streams: int, seed: int) -> Answer:
    """Central differences at the median of the prior with common random numbers."""
    del seed
    start = time.perf_counter()
    step = np.concatenate([np.eye(dim), -np.eye(dim)]) * 1.0
    points = np.repeat(step[:, None], streams, 1)
    values = evaluate(points.reshape(-1, dim), 204, np.tile(np.arange(streams), 2 * dim)).reshape(2, dim, streams)
    slope = np.nanmean(values[0] - values[1], axis=1) / 2
    return Answer(
        "one at a time",
        slope**2,
        values.size,
        0,
        time.perf_counter() - start,
        "at the prior's median only",
        "one point",
    )


def from_draws(z: Array, values: Array, seconds: float, seed: int) -> list[Answer]:
    """Active subspace of sbi and the regression of a neural posterior's mean, from the same draws.

    Raises:
        StudyError: the package sbi is not installed.
    """
    if find_spec("sbi") is None:
        raise StudyError(
            "The sbi baselines need the package sbi, which is not installed; install the extra: pip install 'posterity[sbi]'."
        )
    import torch
    from sbi.analysis import ActiveSubspace
    from sbi.inference import NPE

    good = np.isfinite(values)
    z, values = z[good], values[good]
    scale = values.std()
    theta = torch.tensor(z, dtype=torch.float32)
    x = torch.tensor((values - values.mean()) / scale, dtype=torch.float32)[:, None]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.random.fork_rng(devices=[]), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            torch.manual_seed(seed)
            prior = torch.distributions.MultivariateNormal(torch.zeros(z.shape[1]), torch.eye(z.shape[1]))
            start = time.perf_counter()
            # the regression net is what ranks; the prior takes the posterior's place, so that the distribution is that of the reference
            space = ActiveSubspace(_PriorAsPosterior(prior))
            batch = max(
                8, min(200, len(theta) // 4)
            )  # sbi drops incomplete batches: 200 of fewer draws would train nothing
            space.add_property(theta, x, model="mlp").train(training_batch_size=batch, max_num_epochs=200)
            vectors, sizes = space.find_directions(norm_gradients_to_prior=False)
            active = ((vectors**2) * sizes.clamp_min(0)).sum(1).detach().numpy()
            first = time.perf_counter() - start
            start = time.perf_counter()
            inference = NPE(prior, show_progress_bars=False, tracker=SilentTracker())
            inference.append_simulations(theta, x).train(max_num_epochs=100)
            posterior = inference.build_posterior()
            levels = np.quantile(x.numpy(), (0.1, 0.3, 0.5, 0.7, 0.9))
            means = np.stack(
                [
                    posterior.sample((500,), x=torch.tensor([[v]]), show_progress_bars=False).mean(0).numpy()
                    for v in levels
                ]
            )
            moved = np.var(means, axis=0)
            second = time.perf_counter() - start
    finally:
        torch.set_default_dtype(before)
    runs = len(theta)
    return [
        Answer("sbi active subspace", active, runs, 0, seconds + first, "regression network on draws of the prior"),
        Answer("sbi neural posterior", moved, runs, 0, seconds + second, "how far the posterior mean of an input moves with the output"),
    ]  # fmt: skip


class _PriorAsPosterior:
    """The part of a posterior that `ActiveSubspace` uses."""

    def __init__(self, prior: Any) -> None:
        self._prior, self._device = prior, "cpu"
        self.prior = prior

    def sample(self, shape: tuple[int, ...], **unused: Any) -> Any:
        del unused
        return self._prior.sample(shape)


def run_all(
    evaluate: Evaluate,
    dim: int,
    sizes: dict[str, int],
    seed: int,
    report: Callable[[str], None],
    keep: Callable[[str, Callable[[], list[Answer]]], list[Answer]] = lambda key, make: make(),
) -> tuple[list[Answer], list[str]]:
    """Every baseline that can run; sentences on those that cannot.

    Args:
        evaluate: the model.
        dim: number of its inputs.
        sizes: `morris` trajectories, `sobol` and `dgsm` rows, `once` streams, `sbi` draws; 0 leaves a method out.
        seed: of the samples.
        report: told the name of each method before it starts.
        keep: gives a method's answers, made by the function it is handed or known before.
    """
    plan: Sequence[tuple[str, Callable[..., Answer], str]] = (
        ("SALib Morris", morris, "morris"),
        ("SALib Sobol", sobol_salib, "sobol"),
        ("SALib DGSM", dgsm_salib, "dgsm"),
        ("DGSM by differences", dgsm_differences, "dgsm"),
        ("one at a time", one_at_a_time, "once"),
    )
    answers: list[Answer] = []
    missing: list[str] = []
    for name, method, key in plan:
        if sizes[key]:
            report(name)
            answers += keep(name, lambda method=method, key=key: [method(evaluate, dim, sizes[key], seed)])  # type: ignore[misc]
    if sizes["sbi"]:
        report("sbi")
        try:
            answers += keep("sbi", lambda: _sbi(evaluate, dim, sizes["sbi"], seed))
        except StudyError as error:
            missing.append(str(error))
    return answers, missing


def _sbi(evaluate: Evaluate, dim: int, draws: int, seed: int) -> list[Answer]:
    if find_spec("sbi") is None:
        from_draws(np.zeros((0, dim)), np.zeros(0), 0.0, seed)
    start = time.perf_counter()
    z = np.random.default_rng([seed, 205]).standard_normal((draws, dim))
    values = evaluate(z, 205, np.arange(draws))
    return from_draws(z, values, time.perf_counter() - start, seed)
