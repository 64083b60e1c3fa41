"""Ranks of the known parameters over many epidemics, judged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from calib.diagnostics import SBC, Page, Verdict, holm, judge_sbc, percent, said, sbc_of_ranks, word_of

Array = NDArray[np.float64]
SCALARS = "single parameters"
LEVELS = (0.5, 0.9)


@dataclass(frozen=True)
class Ranks:
    """Ranks of the truths.

    Attributes:
        table: one row an epidemic and parameter: epidemic, parameter, group, truth, low, high, rank, draws.
        ranks: `[epidemic, parameter]` in 0..draws.
        names: of the parameters.
        draws: number of posterior draws S.
        failed: reasons by epidemic.
        forecast: one row an epidemic, stream and period: coverage_50, coverage_95, relative_wis.
        fits: one row an epidemic: steps, stopped_because, k_hat, r_hat, effective, divergent, followed, residual_ratio, seconds.
    """

    table: pd.DataFrame
    ranks: Array
    names: tuple[str, ...]
    draws: int
    failed: dict[int, str]
    forecast: pd.DataFrame
    fits: pd.DataFrame


def group_of(parameter: str) -> str:
    """`district_effect[Northland]` belongs to `district_effect`; parameters without elements form one group."""
    site, bracket, _ = parameter.partition("[")
    return site if bracket else SCALARS


def collect(folder: Path) -> Ranks:
    """Read what the epidemics of a benchmark left.

    Raises:
        ValueError: no epidemic is finished, or they have different parameters.
    """
    kept = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((folder / "epidemics").glob("*.json"))]
    failed = {int(one["seed"]): str(one["failed"]) for one in kept if "failed" in one}
    good = [one for one in kept if "failed" not in one]
    if not good:
        raise ValueError(f"{folder} holds no finished epidemic ({len(failed)} failed); run the benchmark first.")
    names = tuple(row["name"] for row in good[0]["parameters"])
    draws = max(one["draws"] for one in good)
    for one in good:
        if tuple(row["name"] for row in one["parameters"]) != names:
            raise ValueError(
                f"Epidemic {one['seed']} in {folder} has other parameters than the first; use a new folder."
            )
    ranks = np.array([[round(row["rank"] * draws) for row in one["parameters"]] for one in good], dtype=float)
    table = pd.DataFrame(
        {"epidemic": one["seed"], "parameter": row["name"], "group": group_of(row["name"]), "truth": row["truth"], "low": row["low"],
         "high": row["high"], "rank": round(row["rank"] * one["draws"]), "draws": one["draws"]}
        for one in good
        for row in one["parameters"]
    )  # fmt: skip
    forecast = pd.DataFrame(
        {"epidemic": one["seed"], "stream": stream, "weeks_ahead": period, **row}
        for one in good
        for stream, periods in one.get("forecast", {}).items()
        for period, row in periods.items()
    )
    fits = pd.DataFrame(
        {"epidemic": one["seed"], **one.get("fit", {}), "r_hat": None, **one.get("sampler", {})}
        | {name: one.get(name) for name in ("k_hat", "followed", "residual_ratio")}
        # an epidemic that was resumed has the seconds of all its phases, and only of its last part from beginning to end
        | {"seconds": max(one["seconds"], sum(one.get("seconds_by_phase", {}).values()))}
        for one in good
    )
    return Ranks(table, ranks, names, draws, failed, forecast, fits)


def groups(found: Ranks) -> pd.DataFrame:
    """Coverage, bias and width by group of parameters.

    Parameters of one epidemic hang together, so errors are taken between epidemics.

    Returns:
        One row a group and one for all: parameters, epidemics, coverage_50, coverage_90 with error_50, error_90 and 95 % binomial
        intervals low_50 to high_90 (Wilson's, of as many independent truths as the errors amount to), mean_rank (0.5 if
        unbiased), spread (1 if the width is right, above if too narrow), and the p-values of each against what it should be.
    """
    share = (found.ranks + 0.5) / (found.draws + 1)
    of = np.array([group_of(name) for name in found.names])
    rows = []
    for group in (*dict.fromkeys(of.tolist()), "all"):
        part = share[:, of == group] if group != "all" else share
        inside = {level: (np.abs(part - 0.5) <= level / 2).mean(1) for level in LEVELS}
        dispersion = 12 * ((part - 0.5) ** 2).mean(1)
        row: dict[str, Any] = {"group": group, "parameters": part.shape[1], "epidemics": len(part)}
        for level, values in inside.items():
            name = f"{level:.0%}"[:-1]
            row[f"coverage_{name}"], row[f"error_{name}"] = values.mean(), _error(values)
            row[f"low_{name}"], row[f"high_{name}"] = wilson(values, part.shape[1])
        row |= {"mean_rank": part.mean(), "spread": dispersion.mean() ** 0.5}
        row |= {
            "p_coverage": _p(inside[0.9], _exact(found.draws, 0.9)),
            "p_bias": _p(part.mean(1), 0.5),
            "p_spread": _p(dispersion, 1 - 1 / (found.draws + 1) ** 2),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _exact(draws: int, level: float) -> float:
    """Share of the ranks 0..draws that lie in the central interval."""
    return float((np.abs((np.arange(draws + 1) + 0.5) / (draws + 1) - 0.5) <= level / 2).mean())


def _error(values: Array) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def wilson(values: Array, parameters: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927) from its values by epidemic, `[epidemic]`.

    The number of independent truths is what the spread between epidemics says (Korn & Graubard 1998), between one an epidemic
    and one a parameter; one an epidemic where all epidemics agree and nothing is said.
    """
    count, share, error = len(values), float(values.mean()), _error(values)
    apart = share * (1 - share) / error**2 if error > 0 else count
    number = min(max(apart, count), count * parameters)
    z2 = float(norm.ppf(0.975)) ** 2
    centre = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = (z2 * (share * (1 - share) / number + z2 / (4 * number**2))) ** 0.5 / (1 + z2 / number)
    return max(0.0, centre - half), min(1.0, centre + half)


def _p(values: Array, expected: float) -> float:
    """Two-sided p-value of the mean over epidemics; NaN with fewer than five."""
    error = _error(values)
    if len(values) < 5:
        return float("nan")
    return float(2 * norm.sf(abs(values.mean() - expected) / error)) if error > 0 else float(values.mean() == expected)


def judge(found: Ranks) -> tuple[Page, SBC | None]:
    """Verdicts: failures, ranks of single parameters, and coverage by group."""
    table, count = groups(found), len(found.ranks)
    total = count + len(found.failed)
    lost = len(found.failed) / total
    threshold = "warns at the first failed epidemic, fails above 5 %"
    verdicts = [
        Verdict(
            "finished", "pass" if not lost else "warn" if lost <= 0.05 else "fail", lost, threshold,
            f"{count} of {total} epidemics were calibrated" + ("; " + next(iter(found.failed.values())) if lost else ""),
            "look into the folders of those that failed: leaving them out may flatter the others" if lost else "",
        )
    ]  # fmt: skip
    sbc = None
    if count >= 10:
        scalars = np.array([group_of(name) == SCALARS for name in found.names])
        names = [name for name, keep in zip(found.names, scalars, strict=True) if keep]
        sbc = sbc_of_ranks(found.ranks[:, scalars], found.draws, names)
        verdicts.append(judge_sbc(sbc))
    rows = table[table["group"] != "all"]
    if count >= 5:
        adjusted = holm(rows["p_coverage"])
        for (_, row), p in zip(rows.iterrows(), adjusted, strict=True):
            narrow = row["coverage_90"] < 0.9
            text = (
                f"90 % intervals hold {_with_ends(row, '90')} and 50 % intervals {_with_ends(row, '50')} of the truths of "
                f"{row['parameters']} parameters in {count} epidemics; mean rank "
                f"{row['mean_rank']:.2f}, adjusted {said(p)}"
            )
            advice = "over-confident: widen, or let the fit go on for longer" if narrow else "wider than need be"
            word = word_of(p) if narrow or word_of(p) == "pass" else "warn"
            verdicts.append(
                Verdict(
                    f"coverage of {row['group']}", word, float(row["coverage_90"]), "warns below p = 0.05, fails below 0.01 if too narrow",
                    text, "" if word == "pass" else advice,
                )
            )  # fmt: skip
    verdicts += _forecasts(found.forecast) if count >= 5 and len(found.forecast) else []
    questions = {"finished": "Did every calibration end?", "sbc": "Are the ranks of single parameters uniform?"}
    return Page(tuple(verdicts), questions, "Coverage of the calibration over synthetic epidemics"), sbc


def _with_ends(row: pd.Series, level: str) -> str:
    ends = (percent(row[f"{end}_{level}"]) for end in ("low", "high"))
    return f"{percent(row[f'coverage_{level}'])} ({' to '.join(ends)})"


def _forecasts(table: pd.DataFrame) -> list[Verdict]:
    """Coverage of the forecasts' 95 % intervals by stream, errors between epidemics."""
    verdicts = []
    rows = table.groupby(["stream", "epidemic"])[["coverage_50", "coverage_95"]].mean()
    for stream, part in rows.groupby("stream"):
        values = part["coverage_95"].to_numpy(float)
        p, mean = _p(values, 0.95), float(values.mean())
        word = word_of(p) if mean < 0.95 or word_of(p) == "pass" else "warn"
        half = percent(part["coverage_50"].mean())
        text = (
            f"95 % intervals hold {percent(mean)} (± {percent(_error(values))}) and 50 % intervals {half} of the observations "
            f"after the fitted weeks, {said(p)}"
        )
        advice = "forecasts are surer than they should be" if mean < 0.95 else "forecasts are wider than need be"
        threshold = "warns below p = 0.05, fails below 0.01 if too narrow"
        verdicts.append(Verdict(f"forecast of {stream}", word, mean, threshold, text, "" if word == "pass" else advice))
    return verdicts


def overall(found: Ranks) -> dict[str, Any]:
    """The benchmark in plain data, for the record."""
    table = groups(found).replace({np.nan: None})
    page, _ = judge(found)
    return {
        "epidemics": len(found.ranks), "failed": {str(k): v for k, v in found.failed.items()}, "draws": found.draws,
        "groups": table.to_dict("records"),
        **{name: _quantiles(found.fits[name]) for name in ("k_hat", "r_hat", "followed", "residual_ratio", "seconds")},
        "stopped_because": found.fits["stopped_because"].value_counts().to_dict() if "stopped_because" in found.fits else {},
        **page.to_dict(),
    }  # fmt: skip


def _quantiles(values: pd.Series) -> dict[str, float]:
    """Least, median and largest of what is known."""
    known = values.astype(float).dropna()
    return {} if known.empty else {"least": known.min(), "median": known.median(), "largest": known.max()}
