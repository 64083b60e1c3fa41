"""From rows to the table of the page: medians and ranges compared with what was published."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.benchmark_posteriors._run import METHODS
from experiments.benchmark_posteriors._tasks import TASKS

PUBLISHED = Path(__file__).parent / "published.csv"
AMORTISED = ("NLE", "NPE", "NRE")
SEQUENTIAL = ("SNLE", "SNPE", "SNRE")


def published() -> pd.DataFrame:
    """Medians over ten observations of Lueckmann et al. (2021), by task and budget."""
    return pd.read_csv(PUBLISHED)


def ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of the page, whichever came first."""
    places = {"task": TASKS, "method": METHODS}
    ranks = {name: rows[name].map({value: i for i, value in enumerate(order)}) for name, order in places.items()}
    keys = pd.DataFrame({**ranks, "budget": rows["budget"], "observation": rows["observation"]})
    return rows.loc[keys.sort_values(["task", "budget", "method", "observation"]).index].reset_index(drop=True)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Median, lowest and highest C2ST by task, budget and method, with medians of simulations and seconds."""
    grouped = rows.groupby(["task", "budget", "method"], sort=False)
    table = grouped["c2st"].agg(["median", "min", "max", "count"])
    table["simulations"] = grouped["simulations"].median()
    table["seconds"] = grouped["seconds"].median()
    return table.reset_index()


def with_published(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per task and budget: published bests, then every method run here as `median (low-high; n)`."""
    table, known = summary(rows), published().set_index(["task", "budget"])
    lines = []
    for (task, budget), part in table.groupby(["task", "budget"], sort=False):
        line: dict[str, object] = {"task": task, "budget": int(budget)}
        if (task, budget) in known.index:
            row = known.loc[(task, budget)]
            for label, names in (
                ("published, amortised", AMORTISED),
                ("published, any", (*AMORTISED, *SEQUENTIAL, "REJ-ABC", "SMC-ABC")),
            ):
                best = min(names, key=lambda name: row[name])
                line[label] = f"{row[best]:.3f} {best}"
        for _, found in part.iterrows():
            line[str(found["method"])] = (
                f"{found['median']:.3f} ({found['min']:.3f}-{found['max']:.3f}; {found['count']})"
            )
        lines.append(line)
    found = pd.DataFrame(lines).fillna("")
    return found[[name for name in found if name not in METHODS] + [name for name in METHODS if name in found]]


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown."""
    head = "| " + " | ".join(map(str, table.columns)) + " |"
    rule = "| " + " | ".join("---" for _ in table.columns) + " |"
    return "\n".join([head, rule, *("| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False))])
