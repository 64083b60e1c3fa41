"""What the rows of the gallery say together."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

BELIEVED = ("good", "usable")
COUNTS = ("runs", "right", "wrong", "wrong_believed", "right_poor", "refused")


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a method: how often it was right, how often it said so.

    `wrong_believed` are wrong posteriors reported as good or usable (none may be); `right_poor` right ones reported as poor.
    """
    rows = rows.assign(wrong=rows["wrong"].astype(bool))
    answered = rows["state"] != "error"
    believed = rows["state"].isin(BELIEVED)
    flags = pd.DataFrame(
        {
            "method": rows["method"],
            "runs": 1,
            "right": answered & ~rows["wrong"],
            "wrong": answered & rows["wrong"],
            "wrong_believed": answered & rows["wrong"] & believed,
            "right_poor": answered & ~rows["wrong"] & (rows["state"] == "poor"),
            "refused": ~answered,
        }
    )
    table = flags.groupby("method", sort=False)[list(COUNTS)].sum().astype(int).reset_index()
    return pd.concat([table[table["method"] == "auto"], table[table["method"] != "auto"]], ignore_index=True)


def by_problem(rows: pd.DataFrame, method: str = "auto") -> pd.DataFrame:
    """One row a problem: worst errors over the seeds, states, simulations and seconds (medians) of a method."""
    some = rows[rows["method"] == method]
    out = []
    for name, of in some.groupby("problem", sort=False):
        ok = of[of["state"] != "error"]
        out.append(
            {
                "problem": name,
                "seeds": len(of),
                "mean error": _worst(ok["mean_error"], abs),
                "sd ratio": _worst(ok["sd_ratio"], lambda x: max(x, 1 / x) if x > 0 else float("inf")),
                "states": ", ".join(f"{n} {state}" for state, n in of["state"].value_counts().items()),
                "used": ", ".join(sorted(set(ok["used"].dropna().astype(str)))),
                "simulations": float(ok["simulations"].median()) if len(ok) else float("nan"),
                "seconds": float(of["seconds"].median()),
            }
        )
    return pd.DataFrame(out)


def _worst(values: pd.Series, size: Callable[[float], float]) -> float:
    if not len(values):
        return float("nan")
    return float(values.iloc[int(values.map(size).argmax())])


def markdown(table: pd.DataFrame) -> str:
    """The table as Markdown, numbers to three digits."""

    def cell(x: object) -> str:
        return f"{x:.3g}" if isinstance(x, float) else f"{x}"

    lines = ["| " + " | ".join(table.columns) + " |", "| " + " | ".join("---" for _ in table.columns) + " |"]
    lines += ["| " + " | ".join(cell(x) for x in row) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines)
