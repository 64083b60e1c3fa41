"""How well each method's ranking agrees with the reference, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from calib import DerivativeSensitivity, SobolIndices
from epi.sensitivity.known_functions import TestFunction
from epi.sensitivity.reference import Columns
from epi.sensitivity.reference_designs import Answer, Evaluate

Array = NDArray[np.float64]
OURS = "gradients, this project"


def by_group(score: Array, columns: Columns) -> Array:
    """Scores of the reference's groups: those of a vector's elements added up."""
    return np.array([score[list(members)].sum() for members in columns.members])


def agreement(score: Array, reference: Array) -> dict[str, float]:
    """Spearman correlation, and how many of the reference's first five and ten are among the score's."""
    top = {k: set(np.argsort(-reference)[:k]) & set(np.argsort(-score)[:k]) for k in (5, 10)}
    constant = not np.ptp(score) or not np.ptp(reference)
    return {
        "rank_correlation": float("nan") if constant else float(spearmanr(score, reference).statistic),
        "top_five": len(top[5]),
        "top_ten": len(top[10]),
    }


def comparison(
    answers: Sequence[Answer], reference: SobolIndices, columns: Columns, runs: int, seconds: float
) -> pd.DataFrame:
    """One row a method, over the reference's groups. `felt` are those whose index the reference can tell from 0."""
    truth = reference.total.value
    felt = reference.total.low > 0
    rows = [
        {"method": "Sobol, two replicates (reference)", "runs": runs, "gradients": 0, "seconds": seconds, "distribution": "prior", "note": "",
         "rank_correlation": 1.0, "top_five": 5, "top_ten": 10, "rank_correlation_felt": 1.0}
    ]  # fmt: skip
    for answer in answers:
        score = by_group(answer.score, columns)
        rows.append(
            {
                "method": answer.method, "runs": answer.runs, "gradients": answer.gradients,
                "seconds": answer.seconds, "distribution": answer.distribution,
                "note": answer.note, **agreement(score, truth),
                "rank_correlation_felt": agreement(score[felt], truth[felt])["rank_correlation"] if felt.sum() > 4 else float("nan"),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def by_draws(
    r: DerivativeSensitivity, calibrated: int, reference: SobolIndices, columns: Columns
) -> list[dict[str, float]]:
    """Agreement of the shares from growing numbers of draws: `gradients, rank_correlation, top_five, top_ten`."""
    return [
        {"gradients": 3 * n, **agreement(by_group(share[:calibrated], columns), reference.total.value)}
        for n, share in zip(r.path_draws, r.path_share, strict=True)
    ]


def singly(answer: Answer, reference: SobolIndices, columns: Columns) -> dict[str, float]:
    """Agreement over the calibrated inputs one by one: scalar sites, and each element of the vectors."""
    alone = np.flatnonzero([len(members) == 1 for members in columns.members])
    score, truth = by_group(answer.score, columns)[alone], reference.total.value[alone]
    felt = reference.total.low[alone] > 0
    return {
        "inputs": len(alone), "felt": int(felt.sum()), **agreement(score, truth),
        "rank_correlation_felt": agreement(score[felt], truth[felt])["rank_correlation"] if felt.sum() > 4 else float("nan"),
    }  # fmt: skip


def projected(
    answers: Sequence[Answer],
    reference_runs: int,
    groups: int,
    dim: int,
    here: tuple[float, float],
    full: tuple[float, float],
    inputs: int = 940,
) -> pd.DataFrame:
    """What each method would cost for more inputs, at measured seconds a run: those whose runs grow with the inputs grow.

    Args:
        answers: of the methods.
        reference_runs: of the reference.
        groups: how many groups of inputs the reference moved.
        dim: inputs of the other methods.
        here: measured seconds of a run, and of a run with its reverse pass, at the size of this report.
        full: the same at full size.
        inputs: number of inputs asked about.

    Returns:
        `method, runs, gradients, hours, full_hours`.
    """
    grows = {"SALib Morris": 1, "SALib Sobol": 2, "SALib DGSM": 1, "DGSM by differences": 1}
    rows = [("Sobol, two replicates (reference)", reference_runs * (inputs + 2) / (groups + 2), 0.0)]
    for answer in answers:
        if answer.method in grows:
            extra = grows[answer.method]
            rows.append((answer.method, answer.runs * (inputs + extra) / (dim + extra), 0.0))
        elif answer.method == "one at a time":
            rows.append((answer.method, answer.runs * inputs / dim, 0.0))
        else:
            rows.append((answer.method, float(answer.runs), float(answer.gradients)))
    table = pd.DataFrame(rows, columns=["method", "runs", "gradients"])
    for column, (run, gradient) in (("hours", here), ("full_hours", full)):
        table[column] = np.where(table["gradients"] > 0, table["gradients"] * gradient, table["runs"] * run) / 3600
    return table


def on_functions(functions: Sequence[TestFunction], draws: int, seed: int) -> pd.DataFrame:
    """Every method that needs no network on functions with closed forms: `function, method, runs, largest_error, rank_correlation, ...`."""
    from calib import Gradients, derivative_sensitivity, gradient_design, sobol_design, sobol_indices
    from epi.sensitivity import reference_designs as b

    rows: list[tuple[str, str, str, int, Array, Array | None]] = []
    for f in functions:
        evaluate: Evaluate = f.values
        design = gradient_design(draws, f.dim, np.random.default_rng(seed))
        own = np.arange(draws)
        (f1, g1), (f2, g2) = f.gradients(design.z, 1, own), f.gradients(design.z, 2, own)
        r = derivative_sensitivity(
            Gradients(g1, g2, f.gradients(design.mixed, 3, own)[1], f1, f2),
            f.names,
            np.random.default_rng(seed),
            replicates=200,
        )
        total = f.total
        rows.append((f.name, OURS, "share", 3 * draws, r.share.value, total))
        rows.append((f.name, OURS, "upper bound", 3 * draws, r.bound.value, f.nu / f.variance))
        rows.append((f.name, "DGSM of one stream", "upper bound", draws, r.single_seed, f.nu / f.variance))
        count = max(16, 2 ** int(np.log2(3 * draws / (f.dim + 2) / 2)))
        s = sobol_design(count, f.dim, seed)
        points = s.points()
        streams = np.repeat(np.arange(count), points.shape[1])
        both = [f.values(points.reshape(-1, f.dim), k, streams).reshape(points.shape[:2]) for k in (4, 5)]
        indices = sobol_indices(np.stack(both, -1), np.random.default_rng(seed), replicates=50)
        rows.append((f.name, "Sobol, two replicates", "total index", 2 * s.runs, indices.total.value, total))
        salib = b.sobol_salib(evaluate, f.dim, 2 * count, seed)
        rows.append((f.name, "SALib Sobol", "total index", salib.runs, salib.score, total))
        morris = b.morris(evaluate, f.dim, max(4, 3 * draws // (f.dim + 1)), seed)
        rows.append((f.name, "SALib Morris", "mu*", morris.runs, morris.score, None))
        wrong = b.dgsm_salib(evaluate, f.dim, max(16, 3 * draws // (f.dim + 1)), seed)
        rows.append((f.name, "SALib DGSM", "upper bound", wrong.runs, wrong.score, f.nu / f.variance))
    out = []
    for name, method, measure, runs, score, truth in rows:
        f = next(x for x in functions if x.name == name)
        out.append(
            {
                "function": name, "method": method, "measure": measure, "runs": runs,
                "score": " ".join(f"{v:.3f}" for v in score), "closed_form": "" if truth is None else " ".join(f"{v:.3f}" for v in truth),
                "largest_error": float("nan") if truth is None else float(np.abs(score - truth).max()),
                "below_total": int((score < f.total - 0.02).sum()) if measure == "upper bound" else 0,
                "rank_correlation": agreement(np.asarray(score), f.total)["rank_correlation"],
            }
        )  # fmt: skip
    return pd.DataFrame(out)
