"""Policies compared with one another, on draws and seeds that no search saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from epi.errors import StudyError
from epi.scenarios.allocation.search import Found

COMPETITORS = ("greedy", "cobyla", "evolution")
AS_GOOD = 0.98
"""Share of what the gradient's policy averts at which another is taken to be as good."""

Weekly = Callable[[Tensor, Tensor, int], Tensor]


def chosen_competitors(given: Sequence[str] | None) -> list[str]:
    """Searches to compare the gradient with; None for all.

    Raises:
        StudyError: there is no such search.
    """
    chosen = [r for r in (COMPETITORS if given is None else given) if r != "none"]
    for name in chosen:
        if name not in COMPETITORS:
            raise StudyError(f"There is no competitor {name!r}; choose among {', '.join(COMPETITORS)}, none.")
    return list(dict.fromkeys(chosen))


def enough_draws(available: int, draws: int, judges: int) -> None:
    """Half of the posterior draws are searched on, the other half judge: refuse if there are too few.

    Raises:
        StudyError: a step on twice `draws`, or `judges`, needs more.
    """
    if max(2 * draws, judges) > available // 2:
        raise StudyError(
            f"{draws} draws of a step and {judges} judges were asked for, and the run has {available} posterior draws, half to search on "
            f"and half to judge; choose at most {available // 4} and {available // 2}."
        )


def named(name: str, policy: Tensor) -> Found:
    """A policy that nobody searched for."""
    return Found(name, policy, 0, 0.0, ())


def judged_runs(found: Sequence[Found], judges: int) -> int:
    """Simulations that `judge` takes."""
    return judges * (len(found) + sum(len(_thinned(f.path)) for f in found))


def judge(
    weekly: Weekly, found: Sequence[Found], at: Tensor, seed: int, advance: Callable[[int], None] | None = None
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Admissions of every policy and of points on the way to it, all with the same draws and random numbers.

    Args:
        weekly: from policy, draws and seed to `[draws, weeks, ...]` expected admissions.
        found: the policies.
        at: the draws.
        seed: of the epidemics.
        advance: told how many simulations were done.

    Returns:
        `[policies, draws, weeks, ...]` and the variables `curve_policy`, `curve_simulations`, `curve_admissions` (point) of a dataset.
    """
    rows, curves = [], []
    with torch.no_grad():
        for f in found:
            rows.append(weekly(f.policy, at, seed).numpy())
            if advance:
                advance(len(at))
            for cost, policy in _thinned(f.path):
                curves.append((f.method, cost, float(weekly(policy, at, seed).flatten(1).sum(1).mean())))
                if advance:
                    advance(len(at))
    return np.stack(rows), {
        f"curve_{key}": (("point",), np.array([c[i] for c in curves], dtype=kind))
        for i, (key, kind) in enumerate((("policy", str), ("simulations", float), ("admissions", float)))
    }


def _thinned(path: Sequence[tuple[float, Tensor]], most: int = 10) -> list[tuple[float, Tensor]]:
    if not path:
        return []
    keep = np.unique(np.linspace(0, len(path) - 1, min(most, len(path))).round().astype(int))
    return [path[i] for i in keep]


def compare(data: xr.Dataset) -> pd.DataFrame:
    """One row a policy.

    Admissions; averted against nothing, with a 95 % interval over draws; more admissions than the gradient's policy, with its standard error;
    what it spent; simulations; and `reached`, after how many a search averted 98 % of what the gradient's policy averts: infinite if
    never, NaN where nothing was searched.
    """
    total = data["admissions"].sum([d for d in data["admissions"].dims if d not in ("policy", "draw")])
    nothing, best = (total.sel(policy=name).values for name in ("nothing", "gradient"))
    goal = float(nothing.mean() - AS_GOOD * (nothing - best).mean())
    rows = []
    for name in data["policy"].values.astype(str):
        mine = total.sel(policy=name).values
        low, high = np.quantile(nothing - mine, (0.025, 0.975))
        path = data["curve_policy"].values.astype(str) == name
        good = path & (data["curve_admissions"].values <= goal)
        first = float(data["curve_simulations"].values[good].min()) if good.any() else np.inf
        rows.append(
            {
                "policy": name, "admissions": float(mine.mean()), "averted": float((nothing - mine).mean()), "averted_low": float(low),
                "averted_high": float(high), "more_than_gradient": float((mine - best).mean()),
                "se_against_gradient": float((mine - best).std(ddof=1) / len(mine) ** 0.5),
                "spent": float(data["spent"].sel(policy=name)), "simulations": float(data["simulations"].sel(policy=name)),
                "reached": first if path.any() else np.nan,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def told(table: pd.DataFrame, counted: str = "admissions") -> Iterator[str]:
    """The rows of `compare` in words."""
    for row in table.itertuples():
        after = (
            ""
            if np.isnan(row.reached)
            else ", not as good as the gradient's in what it was given"
            if np.isinf(row.reached)
            else f", as good as the gradient's after {row.reached:,.0f}"
        )
        yield (
            f"{row.policy:14s} {counted} {row.admissions:8,.0f}, averted {row.averted:7,.0f} ({row.averted_low:,.0f} to "
            f"{row.averted_high:,.0f}), {row.more_than_gradient:+,.0f} ± {row.se_against_gradient:,.0f} compared with the gradient's, spent "
            f"{row.spent:,.10g}, simulations {row.simulations:,.0f}{after}"
        )
