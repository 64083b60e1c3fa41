"""One self-contained page with the answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import xarray as xr

from calib.plotting import interval
from calib.storage import atomic_write_text
from epi.scenarios.interventions import LEVERS
from epi.scenarios.scenario import Question
from epi.scenarios.summary import MEASURES, levels_of, needless, peak_in_hospital
from epi.study import Prior

PAGE = "what_if.html"


def write_page(
    folder: Path,
    manifest: Mapping[str, Any],
    data: xr.Dataset,
    averted: pd.DataFrame,
    questions: Sequence[Question],
    plots: Mapping[str, Path],
    assumed: Mapping[str, Prior],
) -> Path:
    """Write `what_if.html`: images inside, nothing loaded from elsewhere."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        manifest=manifest,
        draws=data.sizes["draw"],
        image={name: _image(path) for name, path in plots.items()},
        questions=[_question(data, averted, q, plots) for q in questions],
        assumptions=[{"name": n, "unit": p.unit, "reason": p.reason} for n, p in assumed.items()],
        study=data.attrs.get("study", ""),
        smoke=bool(data.attrs.get("smoke")),
        levers=LEVERS,
        measures=MEASURES,
    )
    path = folder / PAGE
    atomic_write_text(path, page)
    return path


def _image(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _question(data: xr.Dataset, averted: pd.DataFrame, question: Question, plots: Mapping[str, Path]) -> dict[str, Any]:
    mine = averted[averted.question == question.name]
    return {
        "name": question.name,
        "title": question.title,
        "carries": question.carries,
        "leaves_out": question.leaves_out,
        "compared": "the calibrated world" if question.against is None else "the other world named in the question",
        "sentences": sentences(data, mine, question),
        "curves": [key for key in plots if key.startswith(f"{question.name}-curves")],
        "rows": {
            level: [_row(mine, level, place) for place in dict.fromkeys(mine[mine.level == level].place)]
            for level in levels_of(mine)
        },
    }


def sentences(data: xr.Dataset, mine: pd.DataFrame, question: Question) -> list[str]:
    """The answer in words."""
    out = []
    for measure in MEASURES:
        row = mine[(mine.measure == measure) & (mine.level == "all")].iloc[0]
        share = signed(-100 * row.share_median, -100 * row.share_high_95, -100 * row.share_low_95)
        number = signed(-row["median"], -row.high_95, -row.low_95)
        text = f"Change in {measure}: {share} %, which is {number} people against {row.reference_median:,.0f}."
        if row.low_95 < 0 < row.high_95:
            text += " No clear difference: the 95 % interval holds zero."
        out.append(text)
    before, after = (interval(x[2], x[0], x[4]) for x in peak_in_hospital(data, question))
    out.append(f"In hospital on a day of the worst week: {after} people, against {before}.")
    extra = needless(data, question)
    if extra is not None:
        low, _, middle, _, high = extra / 1e6
        out.append(
            f"Isolation of people not infected: {interval(middle, low, high)} million days more than in the world compared with."
        )
    return out


def signed(middle: float, low: float, high: float) -> str:
    """`+13.7 (+9.1 to +16.8)`: an interval of a change, each number with its sign."""
    ends = re.split(r"( \(| to |\))", interval(middle, low, high))
    return "".join(x if not x or x[0] in "−( )t0–" or x == ")" else f"+{x}" for x in ends)


def _row(mine: pd.DataFrame, level: str, place: str) -> list[str]:
    cells = [place]
    for measure in MEASURES:
        row = mine[(mine.measure == measure) & (mine.level == level) & (mine.place == place)].iloc[0]
        cells.append(interval(row["median"], row.low_95, row.high_95))
        cells.append(interval(100 * row.share_median, 100 * row.share_low_95, 100 * row.share_high_95))
    return cells
