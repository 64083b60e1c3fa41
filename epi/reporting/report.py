"""One self-contained page about a run, for a reader who knows epidemics and not this code."""

from __future__ import annotations

import base64
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from calib.plotting import interval, number
from calib.storage import atomic_write_text
from epi.errors import NotKept, StudyError
from epi.outputs.run_files import RunFiles
from epi.reporting import sentences as phrases
from epi.reporting.alt_texts import alt_text
from epi.reporting.key_numbers import forecast_rows, key_numbers, sampler_sentence
from epi.reporting.limits import limits, retrospective
from epi.reporting.plots import ALL, PLOTS, shrinkage, titles
from epi.study import Cases

REPORT = "report.html"
TEMPLATE = "report.html.j2"
STYLE = "report.css"
CONTENTS = (
    ("short", "In short"),
    ("infections", "Infections"),
    ("fitted", "What was fitted"),
    ("scores", "How well it did"),
    ("streams", "Other data streams"),
    ("uncertain", "What is uncertain"),
    ("sensitivity", "What matters most"),
    ("computation", "The computation"),
    ("limits", "Limits"),
    ("licences", "Data and licences"),
)
"""Headings of the page by their anchors."""


def write_report(folder: Path, without: Collection[str] = ()) -> Path:
    """Write `report.html` from the files of a run: one page, images inside, nothing loaded from elsewhere.

    Args:
        folder: a run whose plots have been drawn (`draw_all`); nothing is simulated.
        without: plots that could not be drawn; the page says so.

    Returns:
        The page.

    Raises:
        RunFolderError: the folder holds no run.
        StudyError: a file of the run is missing or damaged.
    """
    run = RunFiles(Path(folder))
    run.require()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["above_one"] = _above_one
    page = environment.get_template(TEMPLATE).render(**content(run, without))
    path = run.folder / REPORT
    atomic_write_text(path, page)
    return path


def content(run: RunFiles, without: Collection[str] = ()) -> dict[str, Any]:
    """Everything the template prints, as plain data."""
    manifest = run.manifest
    fitted = [week for week, fitted_week in zip(run.weeks, run.fitted & ~run.masked, strict=True) if fitted_week]
    later = [week for week in run.weeks if week >= run.forecast_from]
    configuration = manifest["configuration"]
    drawn = [name for name in ALL if name not in without and _drawn(run, name)]
    ahead_heads, ahead_rows = forecast_rows(run)
    return {
        "style": (Path(__file__).parent / STYLE).read_text(encoding="utf-8"),
        "contents": CONTENTS,
        "smoke": bool(configuration.get("smoke")),
        "retrospective": retrospective(run),
        "key_numbers": bool(numbers := key_numbers(run)),
        "key_rows": [(n.question, n.answer, n.note) for n in numbers],
        "ahead_heads": ahead_heads,
        "ahead_rows": ahead_rows,
        "sampler": sampler_sentence(run),
        "relative": relative_columns(run),
        "venues": phrases.listed([str(v.layer) for v in run.study.venues]),
        "alt": {name: alt_text(run, name) for name in drawn},
        "manifest": manifest,
        "notices": [*synthetic_sentences(run), *_left_out(without), *manifest.get("notices", [])],
        "image": {name: _image(run, name) for name in drawn},
        "title": run.study.title,
        "country": run.study.country,
        "attribution": run.study.attribution,
        "counted": run.study.stream(run.headline).kind,
        "masked_because": run.study.calendar.masked_because,
        "axis": run.study.region.axis,
        "region_words": run.study.region.plural_name,
        "first_week": phrases.day(fitted[0]),
        "last_week": phrases.day(fitted[-1]),
        "forecast_from": phrases.day(later[0]) if later else "",
        "forecast_to": phrases.day(later[-1]) if later else "",
        "masked_weeks": [phrases.day(week) for week, hidden in zip(run.weeks, run.masked, strict=True) if hidden],
        "regions": len(run.study.region),
        "ages": len(run.study.ages),
        "parameters": parameter_rows(run),
        "parameter_count": len(run.draws()[0]),
        "draw_count": run.draws()[1].shape[0],
        "summary": summary(run),
        "skill": phrases.skill_sentences(run, run.streams),
        "streams": [run.study.stream(name).description for name in run.streams],
        "unseen": [s.description for s in run.study.observed if s.name not in run.streams],
        "stream_information": phrases.stream_sentences(run),
        "extremes": phrases.extremes(run),
        "horizons": {titles(run.study)[t]: horizon_rows(run, t) for t in run.streams if _scored(run, t)},
        "places": place_rows(run, run.headline),
        "periods": list(run.scores[run.headline]["overall"]),
        "what_matters": phrases.sensitivity_sentences(run),
        "fit": phrases.fit_sentences(run),
        "scale": scale_sentences(run),
        "population": list(manifest.get("population", [])),
        "status": {"drawing": "complete"}.get(manifest["status"], manifest["status"]),
        "timings": timing_rows(manifest.get("timings", {})),
        "simulations": [(name.replace("_", " "), f"{n:,}") for name, n in manifest.get("simulations", {}).items()],
        "configuration": [(key.replace("_", " "), _shown(value)) for key, value in configuration.items()],
        "shrunk": shrunk_sentence(run),
        "limits": limits(run),
    }


def _left_out(names: Collection[str]) -> list[str]:
    said = ", ".join(name.replace("_", " ") for name in names)
    return [f"Plots that could not be drawn and are missing here: {said}."] if names else []


def _drawn(run: RunFiles, name: str) -> bool:
    """Whether a figure belongs to the run's study."""
    if (run.folder / PLOTS / f"{name}.png").is_file():
        return True
    try:
        ALL[name](run)
    except NotKept:
        return False
    return True  # it should be there: `_image` says so


def _image(run: RunFiles, name: str) -> str:
    file = run.folder / PLOTS / f"{name}.png"
    if not file.is_file():
        raise StudyError(f"There is no {file}; draw the plots of the run before writing its report.")
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


def summary(run: RunFiles) -> list[str]:
    """What the numbers of the first screen do not say: the score, and what matters most."""
    return [*phrases.skill_sentences(run, [run.headline]), *phrases.sensitivity_sentences(run)[:1]]


def relative_columns(run: RunFiles) -> list[int]:
    """Columns of a table of scores that hold a relative WIS; the first column is 0."""
    return [3, *range(6, 6 + len(run.scores[run.headline]["overall"]))]


def _above_one(cell: str) -> bool:
    """Whether a printed relative WIS is worse than the baseline's."""
    try:
        return float(cell) > 1
    except ValueError:
        return False


def synthetic_sentences(run: RunFiles) -> list[str]:
    """That the observations are simulated, and how many of the known parameters were found again."""
    if run.manifest["configuration"].get("synthetic") is None and not run.truth:
        return []
    sentence = (
        "The observations of this run were simulated from known parameter values: nothing on this page is about "
        f"{run.study.country}."
    )
    names, draws = run.draws()
    known = [i for i, name in enumerate(names) if name in run.truth]
    if known:
        low, high = np.quantile(draws[:, known], (0.05, 0.95), axis=0)
        truth = np.array([run.truth[names[i]] for i in known])
        inside = int(((low <= truth) & (truth <= high)).sum())
        sentence += f" {inside} of {len(known)} true values lie inside the posterior's central 90 % intervals."
    return [sentence]


def parameter_rows(run: RunFiles) -> list[dict[str, str]]:
    """Prior and posterior of every flat parameter, scalars first."""
    names, draws = run.draws()
    low, middle, high = np.quantile(draws, (0.05, 0.5, 0.95), axis=0)
    rows = []
    for i in sorted(range(len(names)), key=lambda i: "[" in names[i]):
        entry = run.entry(names[i])
        prior = [entry.get(key) for key in ("prior_median", "prior_low", "prior_high")]
        rows.append(
            {
                "label": run.label(names[i]),
                "unit": str(entry.get("unit") or ""),
                "prior": interval(*map(float, prior)) if None not in prior else "–",  # type: ignore[arg-type]
                "posterior": interval(float(middle[i]), float(low[i]), float(high[i])),
                "reason": str(entry.get("reason") or ""),
                "element": "yes" if "[" in names[i] else "",
            }
        )
    return rows


def shrunk_sentence(run: RunFiles) -> str:
    """Which parameters the observations told most and least about."""
    values = sorted(((float(np.median(v)), site) for site, v in shrinkage(run).items()), reverse=True)
    told = phrases.listed([f"{run.label(site)} ({phrases.percent(v)} narrower)" for v, site in values[:3]])
    silent = [run.label(site) for v, site in values if v < 0.1]
    text = f"The observations say most about {told}."
    if silent:
        text += (
            f" They say next to nothing (less than a tenth of the prior's width) about {phrases.listed(silent)}: "
            + ("there the prior speaks.")
        )
    return text


def horizon_rows(run: RunFiles, target: str) -> list[list[str]]:
    """Scores by weeks ahead, printed."""
    return [
        [str(row["horizon"]), *_score_cells(row)]
        for row in run.scores[target]["by_horizon"]
    ]  # fmt: skip


def place_rows(run: RunFiles, target: str) -> list[list[str]]:
    """Scores by place, printed; first all horizons, then the relative score of each period."""
    return [
        [row["place"], *_score_cells(row), *(_ratio(part) for part in row.get("periods", {}).values())]
        for row in run.scores[target]["by_place"]
    ]


def _scored(run: RunFiles, target: str) -> bool:
    """Whether a stream has counts in the forecast weeks."""
    return any(row["wis"] is not None for row in run.scores[target]["by_horizon"])


def _score_cells(row: dict[str, Any]) -> list[str]:
    return [
        "–" if row["wis"] is None else number(row["wis"]),
        "–" if row["baseline_wis"] is None else number(row["baseline_wis"]),
        _ratio(row),
        phrases.percent(row["coverage_50"]),
        phrases.percent(row["coverage_95"]),
    ]


def _ratio(row: dict[str, Any]) -> str:
    return "–" if row["relative_wis"] is None else f"{row['relative_wis']:.2f}"


def timing_rows(timings: dict[str, float]) -> list[tuple[str, str, str]]:
    """Phase, time, share, the longest first."""
    total = sum(timings.values()) or 1.0
    rows = sorted(timings.items(), key=lambda row: -row[1])
    return [(name.replace("_", " "), phrases.duration(s), phrases.percent(s / total)) for name, s in rows]


def scale_sentences(run: RunFiles) -> list[str]:
    """What the scale of the population and the simulator's own noise do to the result."""
    manifest = run.manifest
    people = float(run.people_by_region.sum())
    sentences = []
    if "agents" in manifest:
        agents = int(manifest["agents"])
        sentences.append(
            f"The simulated country has {agents:,} agents for {people:,.0f} people: on average one agent stands for "
            f"{number(people / agents)}. The fewer the agents, the more chance among a few decides when an epidemic takes off "
            f"in a {run.study.region.axis}."
        )
    noise = manifest.get("simulator_noise", {})
    axis = run.study.region.axis
    counted = "infections" if run.study.first_stream(Cases) is None else "cases"
    if f"relative_sd_{axis}" in noise:
        by_region = sorted(noise[f"relative_sd_{axis}"].items(), key=lambda row: row[1])
        (quiet, least), (loud, most) = by_region[0], by_region[-1]
        sentences.append(
            f"With the parameters fixed, chance alone moves the expected weekly {counted} from one simulation to the next by "
            f"{phrases.percent(noise['relative_sd_national'], 1)} (relative standard deviation, fitted weeks, {noise['runs']} "
            f"simulations) for the country, and between {phrases.percent(least)} ({quiet}) and {phrases.percent(most)} ({loud}) for a "
            f"{axis}."
        )
        scatter = noise.get(f"dispersion_{axis}")
        if scatter is not None:
            sentences[-1] += (
                f" The fitted scatter of cases by {axis} is {phrases.percent(scatter)}: where chance is "
                "of that size or larger, part of what looks like scatter of the observations is the simulator's own chance, and the "
                f"intervals of that {axis} are wider than a larger population would make them."
            )
    else:
        sentences.append("This run did not measure how much the simulator's own noise moves its results.")
    return sentences
