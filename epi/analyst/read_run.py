"""Tools that read a run's files about the calibration itself: overview, verdicts, posterior, scores, sensitivity, streams, plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from calib.diagnostics import Verdict
from epi.analyst.source import CannotAnswer, Source, nearest
from epi.analyst.values import Origin, Result, Value, clean
from epi.outputs.former_names import existing
from epi.reporting.plots import ALL as PLOTS
from epi.reporting.sentences import listed
from epi.reporting.verdicts import QUESTIONS, judge_run

__all__ = ["figure", "posterior", "scores", "sensitivity", "streams", "summary", "verdicts"]

PARAMETER_LEVEL = 90.0


def summary(run: Source) -> Result:
    """What was calibrated to what: study, places, ages, weeks, streams, draws. Ask this first."""
    files, study = run.files, run.study
    at, kept = _manifest(run, ""), files.groups
    people = run.origin("posterior.nc", f"constant_data/population_{study.region.axis}")
    names, draws = files.draws()
    values = (
        Value("people", float(files.people_by_region.sum()), "people", people),
        Value(study.region.plural_name, float(len(study.region)), "", at),
        Value("age bands", float(len(study.ages)), "", at),
        Value("weeks", float(len(files.weeks)), "weeks", run.origin("posterior.nc", "observed_data/week")),
        Value("weeks in the likelihood", float(files.fitted.sum()), "weeks", run.origin("posterior.nc", "constant_data/fitted_week")),
        Value("parameters", float(len(names)), "", at),
        Value("posterior draws", float(len(draws)), "draws", run.origin("posterior.nc", "posterior")),
        Value("draws of the forecast", float(kept["forecast_draws"].sizes["draw"]), "draws", run.origin("posterior.nc", "forecast_draws")),
    )  # fmt: skip
    text = (
        f"{clean(study.title)}: {listed(study.region.names)}; ages {listed(study.ages.names)}; weeks ending {files.weeks[0]} to "
        f"{files.weeks[-1]}, forecast from the week to {files.forecast_from}. Data streams {listed([s.name for s in study.observed])}; in the "
        f"likelihood {listed(files.streams)}. Status of the run: {clean(str(files.manifest['status']), 40)}."
    )
    notices = tuple(clean(str(n)) for n in files.manifest.get("notices", []))
    return Result("summary", {}, values, text, notices)


def verdicts(
    run: Source,
    check: Annotated[str, Field(max_length=60, description=f"One of {', '.join(QUESTIONS)}; empty for all.")] = "",
) -> Result:
    """Whether the calibration can be believed: one verdict a check, pass, warn or fail."""
    page = judge_run(run.files).page
    known = [v.name for v in page.verdicts]
    if check and check not in known:
        raise CannotAnswer(
            f"There is no check {clean(check, 60)!r}{nearest(check, known)}; choose among {listed(known)}."
        )
    chosen = [v for v in page.verdicts if v.name == check] or page.verdicts
    at = _manifest(run, "verdicts of posterity check")
    smoke = bool(run.files.manifest.get("configuration", {}).get("smoke"))
    lead, named = (
        (_believed(chosen, smoke), [v for v in chosen if v.word in ("fail", "warn")]) if not check else ("", chosen)
    )
    values = tuple(Value(f"{v.name} ({v.word})", float(v.value), "", at) for v in named if np.isfinite(v.value))
    counts = tuple(
        Value(title, float(sum(v.word == word for v in chosen)), "", at)
        for word, title in (
            ("fail", "checks that failed"),
            ("warn", "checks that warned"),
            ("pass", "checks that passed"),
        )
    )
    if check:
        text = f"{QUESTIONS.get(check, check)} {named[0].word.capitalize()}: {clean(named[0].text)}."
        return Result("verdicts", {"check": check}, values, text)
    return Result("verdicts", {"check": check}, (*counts, *values), lead)


def _believed(verdicts: Sequence[Verdict], smoke: bool) -> str:
    """Whether to believe a calibration, why, and what to do, in two or three sentences."""
    failed, warned = ([v for v in verdicts if v.word == word] for word in ("fail", "warn"))
    ran = sum(v.word != "not run" for v in verdicts)
    if failed:
        answer = f"No: {len(failed)} of {ran} checks failed"
    elif warned:
        answer = f"With care: none of {ran} checks failed, but {len(warned)} warned"
    else:
        answer = f"Yes: all {ran} checks passed"
    if smoke:
        answer = f"{answer}, and this is a smoke run, which is too small to be a result"
    reasons = failed or warned
    why = "; ".join(f"{v.name.replace('_', ' ')}: {clean(v.text).rstrip('.')}" for v in reasons)
    advice = next((clean(v.advice) for v in reasons if v.advice), "")
    if smoke:
        advice = "run it again without --smoke before a number of it is used"
    return " ".join(f"{part[:1].upper()}{part[1:].rstrip('.')}." for part in (answer, why, advice) if part)


def posterior(
    run: Source,
    parameter: Annotated[
        str, Field(max_length=80, description="Name of a parameter; a vector's element as name[label].")
    ],
) -> Result:
    """Prior and posterior of a parameter: median and 90 % interval; every element of a vector."""
    names, draws = run.files.draws()
    labels = {n: run.files.label(n).lower() for n in names}
    wanted = parameter.strip().lower()
    chosen = [n for n in names if wanted in (n.lower(), labels[n])]
    chosen = chosen or [n for n in names if n.split("[")[0].lower() == wanted]
    if not chosen:
        raise CannotAnswer(
            f"The run has no parameter {clean(parameter, 60)!r}{nearest(wanted, [*names, *labels.values()])}; it has {listed(names)}."
        )
    rows = []
    for name in chosen:
        low, middle, high = np.quantile(draws[:, names.index(name)], (0.05, 0.5, 0.95))
        entry = run.files.entry(name)
        unit, at = clean(str(entry.get("unit") or ""), 60), run.origin("posterior.nc", f"posterior/{name}")
        rows.append(
            Value(
                f"{run.files.label(name)}, posterior",
                float(middle),
                unit,
                at,
                float(low),
                float(high),
                PARAMETER_LEVEL,
                len(draws),
            )
        )
        prior = [entry.get(f"prior_{key}") for key in ("median", "low", "high")]
        if None not in prior:
            m, a, b = (float(x) for x in prior if x is not None)
            rows.append(
                Value(
                    f"{run.files.label(name)}, prior",
                    m,
                    unit,
                    _manifest(run, f"parameters/{name}"),
                    a,
                    b,
                    PARAMETER_LEVEL,
                )
            )
    reason = clean(str(run.files.entry(chosen[0]).get("reason") or ""))
    return Result("posterior", {"parameter": chosen[0] if len(chosen) == 1 else chosen[0].split("[")[0]}, tuple(rows), "",
                  (f"Why this prior: {reason}",) if reason else ())  # fmt: skip


def scores(
    run: Source, stream: Annotated[str, Field(max_length=80, description="A data stream, such as cases.")]
) -> Result:
    """How good the forecast was: weighted interval score, relative to the baseline, and coverage, by weeks ahead."""
    out = run.stream(stream)
    if out.name not in run.files.scores:
        raise CannotAnswer(f"The run scored no forecast of {out.name}; it scored {listed(list(run.files.scores))}.")
    rows, better = [], []
    for period, row in run.files.scores[out.name]["overall"].items():

        def at(key: str, period: str = period) -> Origin:
            return run.origin("scores.json", f"{out.name}/overall/{period}/{key}")

        ahead = f"weeks ahead {period}"
        named = (("wis", "WIS", out.unit, 1.0), ("baseline_wis", "WIS of the baseline", out.unit, 1.0),
                 ("relative_wis", "WIS relative to the baseline", "ratio", 1.0), ("coverage_50", "coverage of 50 % intervals", "%", 100.0),
                 ("coverage_95", "coverage of 95 % intervals", "%", 100.0))  # fmt: skip
        rows += [
            Value(f"{said}, {out.label}, {ahead}", factor * float(row[key]), unit, at(key))
            for key, said, unit, factor in named
            if row.get(key) is not None
        ]
        if row.get("relative_wis") is not None:
            better.append(f"{ahead} {'better' if row['relative_wis'] < 1 else 'not better'} than the baseline")
    return Result(
        "scores", {"stream": out.name}, tuple(rows), f"Forecast of {out.label}: {listed(better)}." if better else ""
    )


def sensitivity(
    run: Source,
    output: Annotated[
        str,
        Field(
            max_length=120,
            description="An output, such as cases, admissions or 'cases in North in the forecast weeks'.",
        ),
    ],
    top: Annotated[int, Field(ge=1, le=20, description="How many parameters.")] = 5,
) -> Result:
    """Which parameters drive an output: the largest shares of the mean squared derivative, with 95 % intervals."""
    table = run.files.sensitivity
    known = list(dict.fromkeys(table["output"]))
    wanted = output.strip().lower()
    found = [o for o in known if o.lower() == wanted] or [
        o for o in known if o.lower() == f"{wanted} in the forecast weeks"
    ]
    found = found or [o for o in known if o.lower().startswith(f"{wanted},")]
    if not found:
        raise CannotAnswer(
            f"The run ranked no parameters for {clean(output, 60)!r}{nearest(wanted, known)}; it has {listed(known[:6])}."
        )
    rows = table[
        (table["output"] == found[0]) & (table["measure"] == "derivative_share") & (table["level"] == "parameter")
    ]
    rows = rows.dropna(subset=["index", "low", "high"]).sort_values("rank").head(top)
    if rows.empty:
        raise CannotAnswer(
            f"The run ranked no parameters for {found[0]!r}: no draw has a derivative other than zero under both seeds."
        )
    values = tuple(
        Value(
            f"{run.files.label(str(r.parameter))}, share of what drives {found[0]}", 100 * float(r.index_), "%",
            run.origin("sensitivity.csv", f"output={found[0]}, parameter={r.parameter}, measure=derivative_share"),
            100 * float(r.low), 100 * float(r.high), draws=int(r.draws),
        )
        for r in rows.rename(columns={"index": "index_"}).itertuples(index=False)
    )  # fmt: skip
    return Result(
        "sensitivity", {"output": found[0], "top": top}, values, f"What drives {found[0]}, the largest first."
    )


def streams(run: Source) -> Result:
    """What each data stream adds: the factor by which outputs and parameters would be wider without it."""
    table = run.files.stream_information
    file = existing(run.folder, "stream_information.csv").name
    rows: list[Value] = []
    for option in dict.fromkeys(table["option"]):
        part = table[table["option"] == option]
        told: list[Any] = [*part[part["output"]].itertuples()]
        told += [*part[~part["output"] & part["shown"]].sort_values("wider", ascending=False).head(3).itertuples()]
        for r in told:
            name = str(r.quantity) if r.output else run.files.label(str(r.quantity))
            rows.append(
                Value(
                    f"factor by which {name} would be wider without {option}", float(r.wider), "ratio",
                    run.origin(file, f"option={option}, quantity={r.quantity}"),
                )
            )  # fmt: skip
    switched = {str(o): bool(table[table["option"] == o]["fitted"].iloc[0]) for o in dict.fromkeys(table["option"])}
    text = "; ".join(f"{o} {'is' if on else 'is not'} in the likelihood" for o, on in switched.items()) + "."
    return Result("streams", {}, tuple(rows), text)


def figure(
    run: Source,
    name: Annotated[str, Field(max_length=60, description="Name of a figure; 'list' for their names.")],
) -> Result:
    """Path and checksum of a figure that the run has drawn."""
    drawn = [n for n in PLOTS if run.file(f"figures/{n}.png").is_file()]
    if name == "list":
        return Result("figure", {"name": name}, (), f"Plots of the run: {listed(drawn)}.")
    if name not in drawn:
        raise CannotAnswer(
            f"The run has drawn no figure {clean(name, 60)!r}{nearest(name, drawn)}; it has {listed(drawn)}."
        )
    at = run.origin(f"figures/{name}.png", "the whole file")
    text = f"{name.replace('_', ' ')}: {at.file} in the run's folder, sha256 {at.sha256}."
    return Result("figure", {"name": name}, (), text)


def _manifest(run: Source, selector: str) -> Origin:
    return run.origin("manifest.json", selector)
