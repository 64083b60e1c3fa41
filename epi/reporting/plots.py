"""Every figure of a run, drawn from the files in its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

from calib import Functional, sensitivity
from calib.plotting import (
    Panel,
    plot_elbo,
    plot_fans,
    plot_forest,
    plot_matrix,
    plot_pairs,
    plot_rank_path,
    plot_ranking,
    plot_scores,
    plot_shares_over_time,
    plot_shrinkage,
    plot_tornado,
    save_figure,
    watermark,
)
from calib.storage import FORECAST_DRAWS
from epi.errors import NotKept, PlotsFailed, StudyError
from epi.outputs.derivatives import HEADLINES, functionals, week_name
from epi.outputs.run_files import RunFiles
from epi.reporting.derived_plots import attack_rates, infections_and_cases, reproduction_numbers
from epi.reporting.map_plots import map_attack_rate, map_infections, map_reproduction
from epi.reporting.sentences import stop_sentences
from epi.study import Admissions, Cases, Cohort, Deaths, Occupancy, Stream, Study, Wastewater

PLOTS = "figures"
SHOWN = 12
"""Rows of a ranking."""

PAIRS = (
    "transmission_community",
    "aversion",
    "forgetting",
    "seed_level",
    "transmission_household",
)
"""Parameters that trade off against each other in an epidemic's curve; those present are drawn in pairs."""


def titles(study: Study) -> dict[str, str]:
    """Title of each data stream."""
    return {s.name: s.title for s in study.observed}


def _stream(run: RunFiles, kind: type[Stream], by: str) -> str | None:
    """Name of the stream of a kind by an axis, or None."""
    return next((s.name for s in run.study.observed if isinstance(s, kind) and s.by == by), None)


def forecast_regions(run: RunFiles) -> Figure:
    """Weekly cases of every region; admissions where cases are no stream."""
    axis = run.study.region.axis
    if run.study.first_stream(Cases) is None:
        return _fans(run, Admissions, axis, f"Weekly admissions to hospital by {axis}", columns=4, height=1.55)
    return _fans(run, Cases, axis, f"Weekly reported cases by {axis}", columns=4, height=1.55)


def forecast_ages(run: RunFiles) -> Figure:
    """Weekly cases of every age band."""
    return _fans(run, Cases, "age", "Weekly reported cases by age", columns=4)


def forecast_admissions(run: RunFiles) -> Figure:
    """Weekly admissions of every age band."""
    return _fans(run, Admissions, "age", "Weekly admissions to hospital by age", columns=4)


def _fans(run: RunFiles, kind: type[Stream], by: str, title: str, columns: int, height: float = 1.75) -> Figure:
    name = _stream(run, kind, by)
    if name is None:
        raise NotKept(f"The study has no stream {kind.__name__} by {by}.")
    draws, observed = run.predicted(name), run.observed(name)
    in_likelihood = run.in_likelihood(name)
    own = [
        None if run.study.stream(name).masked and in_likelihood.any() else in_likelihood[:, i]
        for i in range(in_likelihood.shape[1])
    ]
    panels = [Panel(place, draws[..., i], observed[:, i], own[i]) for i, place in enumerate(run.places(name))]
    return plot_fans(run.weeks, panels, run.fitted, run.masked, columns, title, height)


def forecast_national(run: RunFiles) -> Figure:
    """National cases and admissions; infections where the run kept them."""
    panels = []
    for title, kind in (("Reported cases a week", Cases), ("Admissions a week", Admissions)):
        found = run.study.first_stream(kind)
        if found is not None:
            panels.append(Panel(title, run.predicted(found.name).sum(-1), run.observed(found.name).sum(-1)))
    if run.study.infections in run.groups["posterior_predictive"]:
        panels.append(Panel("Infections a week (estimate)", run.predicted(run.study.infections).sum(-1)))
    return plot_fans(run.weeks, panels, run.fitted, run.masked, len(panels), run.study.country, height=2.7)


def forecast_streams(run: RunFiles) -> Figure:
    """The other streams for all regions as a whole."""
    shown: dict[type[Stream], str] = {
        Deaths: "Deaths a week",
        Occupancy: "In hospital, mean of the week",
        Wastewater: "Wastewater, million copies a person a day",
        Cohort: "{} infected, per 1,000 a week",
    }
    panels = []
    for s in run.study.observed:
        title = next((text for kind, text in shown.items() if isinstance(s, kind)), None)
        if title is None:
            continue
        if isinstance(s, Cohort):
            title = title.format(s.label[:1].upper() + s.label[1:])
        add = _whole(run, s)
        panels.append(
            Panel(
                title + ("" if s.name in run.streams else " (not fitted)"),
                add(run.predicted(s.name)),
                add(run.observed(s.name)),
                run.in_likelihood(s.name).any(-1),
            )
        )
    if not panels:
        raise NotKept("The study has no other streams.")
    none = np.zeros_like(run.masked)
    return plot_fans(run.weeks, panels, run.fitted, none, 2, f"{run.study.country}: the other streams", height=2.3)


def _whole(run: RunFiles, stream: Stream) -> Callable[[np.ndarray], np.ndarray]:
    """How a stream's places become one number a week: a sum of counts, a mean of measurements by people."""
    if stream.counts:
        return lambda x: x.sum(-1)
    study = run.study
    people = dict(zip(study.region.names, run.people_by_region, strict=True))
    groups = study.region.areas if stream.by == study.region.area_axis else {n: (n,) for n in study.region.names}
    if stream.by not in (study.region.area_axis, study.region.axis):
        return lambda x: x[..., 0]
    weight = np.array([sum(people[n] for n in members) for members in groups.values()])
    return lambda x: _weighted(x, weight)


def _weighted(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean over the places that have a figure."""
    known = np.isfinite(x)
    total = (known * weight).sum(-1)
    return np.divide(
        (np.where(known, x, 0.0) * weight).sum(-1), total, out=np.full(total.shape, np.nan), where=total > 0
    )


def forecast_deaths(run: RunFiles) -> Figure:
    """Weekly deaths of every age band, or of every region where these are observed."""
    axis = "age" if _stream(run, Deaths, "age") else run.study.region.axis
    return _fans(run, Deaths, axis, f"Weekly deaths by {axis}", columns=4)


def forecast_occupancy(run: RunFiles) -> Figure:
    """People in hospital in every region."""
    axis = run.study.region.axis
    return _fans(run, Occupancy, axis, f"People in hospital by {axis}, mean of the week", columns=4, height=1.55)


def forecast_wastewater(run: RunFiles) -> Figure:
    """Wastewater of every place."""
    found = run.study.first_stream(Wastewater)
    by = run.study.region.area_axis if found is None else found.by
    return _fans(
        run, Wastewater, by, f"Wastewater by {by}, million genome copies a person a day", columns=4, height=1.55
    )


def stream_information(run: RunFiles) -> Figure:
    """How much wider what is known would be without each stream."""
    table = run.stream_information
    rows = list(dict.fromkeys(table.loc[table.shown, "quantity"]))
    options = [o for o in run.study.options if (table.option == o).any()]
    wide = table.pivot(index="quantity", columns="option", values="wider").loc[rows, options]
    fitted = dict(zip(table.option, table.fitted, strict=True))
    return plot_matrix(
        wide.to_numpy(),
        [run.label(q) for q in rows],
        [o if fitted[o] else f"{o}\n(not fitted)" for o in options],
        "Information from each data stream: how much wider an interval is without it (linearised)",
    )


def parameters_forest(run: RunFiles) -> Figure:
    """Posterior compared with prior of the scalar parameters."""
    return _forest(run, lambda name: "[" not in name, "Parameters: posterior (blue) on the scale of the prior (grey)")


def parameters_forest_elements(run: RunFiles) -> Figure:
    """Posterior compared with prior of parameters by region, age, ..."""
    return _forest(
        run,
        lambda name: "[" in name,
        f"Parameters by {run.study.region.axis}, age and period: posterior on the prior's scale",
    )


def _forest(run: RunFiles, chosen: Callable[[str], bool], title: str) -> Figure:
    names, after = run.draws("posterior")
    keep = [i for i, name in enumerate(names) if chosen(name)]
    prior = np.array([[run.entry(names[i])[f"prior_{end}"] for i in keep] for end in ("low", "median", "high")])
    units = [str(run.entry(names[i]).get("unit") or "") for i in keep]
    units = ["" if unit == "standardised" else unit for unit in units]
    truth = [run.truth.get(names[i], np.nan) for i in keep] if run.truth else None
    title += ", true value (diamond)" if truth else ""
    return plot_forest(after[:, keep], prior, [run.label(names[i]) for i in keep], units, title, truth)


def parameters_pairs(run: RunFiles) -> Figure:
    """Joint posterior of a few parameters that trade off, at the draws of the forecast."""
    names, after = run.draws(FORECAST_DRAWS)
    prior_names, before = run.draws("prior")
    reported = [name for name in names if name.startswith("ascertainment_")][-1:]
    chosen = [name for name in (*PAIRS[:3], *reported, *PAIRS[3:]) if name in names] or names[:6]
    return plot_pairs(
        after[:, [names.index(name) for name in chosen]],
        [run.label(name) for name in chosen],
        before[:, [prior_names.index(name) for name in chosen]],
        "Joint posterior: pairs below, each with its prior (grey line) on the diagonal, correlations above",
    )


def shrinkage(run: RunFiles) -> dict[str, np.ndarray]:
    """`1 - posterior interquartile range / prior interquartile range` of every site, `[element]` each.

    Computed on z, where every prior is the standard normal, so that no family of priors is favoured.
    """
    z = run.jacobian["z"].values
    width = np.diff(np.quantile(z, (0.25, 0.75), axis=0), axis=0)[0] / (norm.ppf(0.75) - norm.ppf(0.25))
    result: dict[str, list[float]] = {}
    for name, ratio in zip(run.jacobian["parameter"].values, width, strict=True):
        result.setdefault(str(name).split("[")[0], []).append(1.0 - float(ratio))
    return {site: np.asarray(values) for site, values in result.items()}


def parameters_shrinkage(run: RunFiles) -> Figure:
    """How much of the prior's width each parameter lost."""
    rows = sorted(shrinkage(run).items(), key=lambda row: -float(np.median(row[1])))
    return plot_shrinkage(
        [(run.label(site), values) for site, values in rows], "What the observations say: prior width lost to the fit"
    )


def fit_elbo(run: RunFiles) -> Figure:
    """History of the ELBO with the step at which it stopped."""
    table = run.history
    reason = stop_sentences(run)[0]
    return plot_elbo(table["step"], table["elbo"], table["elbo_smoothed"], int(table["step"].iloc[-1]), reason)


def scores(run: RunFiles) -> Figure:
    """WIS compared with the baseline's, and coverage, by horizon, of the streams with counts in the forecast weeks.

    Raises:
        NotKept: no stream has any, as in a forecast of weeks that are not yet known.
    """
    scored = [name for name in run.streams if any(row["wis"] is not None for row in run.scores[name]["by_horizon"])]
    if not scored:
        raise NotKept("No forecast week has counts yet, so there is nothing to score.")
    return plot_scores(run.scores, {name: titles(run.study)[name] for name in scored})


def rows_of(run: RunFiles, output: str, measure: str, level: str = "parameter") -> pd.DataFrame:
    """Rows of `sensitivity.csv` for one output and measure, the first rank first."""
    table = run.sensitivity
    chosen = table[(table.output == output) & (table.measure == measure) & (table.level == level)]
    return chosen.sort_values("rank", kind="stable")


def headline_output(run: RunFiles) -> str:
    """The output that rankings lead with: the first of `HEADLINES` that the run has.

    Raises:
        NotKept: it has none.
    """
    known = set(run.sensitivity["output"])
    for output in HEADLINES:
        if output in known:
            return output
    raise NotKept(f"Study {run.study.name!r} has neither cases nor admissions.")


def _second_output(run: RunFiles) -> str:
    if headline_output(run) == HEADLINES[1] or HEADLINES[1] not in set(run.sensitivity["output"]):
        raise NotKept(f"Study {run.study.name!r} has no second output to rank.")
    return HEADLINES[1]


def sensitivity_ranking(run: RunFiles, output: str | None = None) -> Figure:
    """The leading parameters of an output by their share of the derivative measure.

    Raises:
        NotKept: no share is known, as in a run so small that the outbreak died out in nearly every draw.
    """
    output = output or headline_output(run)
    top = rows_of(run, output, "derivative_share").dropna(subset=["index", "low", "high"]).head(SHOWN)
    if top.empty:
        raise NotKept(f"No derivative of {output} differs from zero under both seeds: there is nothing to rank.")
    return plot_ranking(
        [run.label(name) for name in top.parameter],
        top["index"],
        top.low,
        top.high,
        top.top_five,
        "share of the mean squared derivative, with its 95 % interval",
        f"What {output} depend on",
    )


def sensitivity_ranking_admissions(run: RunFiles) -> Figure:
    """The same for admissions."""
    return sensitivity_ranking(run, _second_output(run))


def sensitivity_tornado(run: RunFiles, output: str | None = None) -> Figure:
    """Swings of an output in its own unit."""
    output = output or headline_output(run)
    wide = rows_of(run, output, "prior_swing").head(SHOWN)
    narrow = rows_of(run, output, "posterior_swing").set_index("parameter")["index"]
    return plot_tornado(
        [run.label(name) for name in wide.parameter],
        wide["index"],
        wide.low,
        wide.high,
        narrow.loc[wide.parameter],
        str(wide.unit.iloc[0]),
        f"{output[0].upper()}{output[1:]}: change from a parameter's 5 % to its 95 % point (linearised)",
    )


def sensitivity_tornado_admissions(run: RunFiles) -> Figure:
    """The same for admissions."""
    return sensitivity_tornado(run, _second_output(run))


def sensitivity_over_time(run: RunFiles) -> Figure:
    """Shares of groups of parameters in each week's national cases, or admissions where cases are no stream."""
    shares, counted = {}, headline_output(run).split()[0]
    for week in run.weeks:
        rows = rows_of(run, week_name(counted, week), "derivative_share", "group")
        shares[week] = rows.set_index("parameter")["index"]
    if not any(column.notna().any() for column in shares.values()):
        raise NotKept(f"No week's {counted} have a derivative that differs from zero under both seeds.")
    table = pd.DataFrame(shares)
    table = table.loc[table.max(axis=1).sort_values(ascending=False).index[:SHOWN]]
    order = table.fillna(-1.0).to_numpy().argmax(axis=1)  # early parameters on top: the picture reads as a diagonal
    table = table.iloc[np.argsort(order, kind="stable")]
    return plot_shares_over_time(
        table.to_numpy(),
        [run.label(name) for name in table.index],
        list(table.columns),
        run.forecast_from,
        f"What each week's national {counted} depend on (share of the mean squared derivative, %; grey: chance alone)",
    )


def sensitivity_rank_path(run: RunFiles, leading: int = 8) -> Figure:
    """Ranks of the leading parameters against the number of draws, from the kept Jacobians."""
    data = run.jacobian
    chosen = next(f for f in functionals(data, run.forecast_from) if f.name == headline_output(run))
    wanted = np.asarray(chosen.weights) != 0
    second = data["jacobian_second"].values[:, wanted] if "jacobian_second" in data else None
    (result,) = sensitivity(
        data["jacobian"].values[:, wanted],
        data["z"].values,
        [str(name) for name in data["parameter"].values],
        [Functional(chosen.name, np.asarray(chosen.weights)[wanted], chosen.unit)],
        np.random.default_rng(0),  # only the bootstrap draws from it, and the ranks shown are without it
        second=second,
        replicates=2,
    )
    first = np.argsort(result.path_rank[-1])[:leading]
    return plot_rank_path(
        result.path_draws,
        result.path_rank[:, first],
        [run.label(result.names[i]) for i in first],
        f"Does the ranking hold? Ranks for {chosen.name} from the first draws alone",
    )


ALL: dict[str, Callable[[RunFiles], Figure]] = {
    "forecast_national": forecast_national,
    "forecast_regions": forecast_regions,
    "forecast_ages": forecast_ages,
    "forecast_admissions": forecast_admissions,
    "forecast_streams": forecast_streams,
    "forecast_deaths": forecast_deaths,
    "forecast_occupancy": forecast_occupancy,
    "forecast_wastewater": forecast_wastewater,
    "reproduction_numbers": reproduction_numbers,
    "infections_and_cases": infections_and_cases,
    "attack_rates": attack_rates,
    "map_attack_rate": map_attack_rate,
    "map_infections": map_infections,
    "map_reproduction": map_reproduction,
    "stream_information": stream_information,
    "scores": scores,
    "parameters_forest": parameters_forest,
    "parameters_forest_elements": parameters_forest_elements,
    "parameters_shrinkage": parameters_shrinkage,
    "parameters_pairs": parameters_pairs,
    "sensitivity_ranking": sensitivity_ranking,
    "sensitivity_ranking_admissions": sensitivity_ranking_admissions,
    "sensitivity_tornado": sensitivity_tornado,
    "sensitivity_tornado_admissions": sensitivity_tornado_admissions,
    "sensitivity_over_time": sensitivity_over_time,
    "sensitivity_rank_path": sensitivity_rank_path,
    "fit_elbo": fit_elbo,
}
"""Every figure by its file name."""


def draw_all(folder: Path) -> list[Path]:
    """Draw every figure of a run into `figures/*.png`.

    Args:
        folder: a finished run; only its files are read, and nothing is simulated.

    Returns:
        The files, in the order of the report.

    Raises:
        RunFolderError: the folder holds no run.
        StudyError: a file of the run is missing or damaged.
        PlotsFailed: some plots could not be drawn; all others were.
    """
    run = RunFiles(Path(folder))
    run.require()
    paths: list[Path] = []
    failed: dict[str, str] = {}
    for name, draw in ALL.items():
        path = run.folder / PLOTS / f"{name}.png"
        try:
            figure = draw(run)
        except NotKept:  # the study has no such stream
            continue
        except StudyError:
            raise
        except Exception as error:  # of any kind inside a library: one plot must not cost the others
            failed[name] = f"{name} ({type(error).__name__}: {' '.join(str(error).split())})"
            path.unlink(missing_ok=True)
            continue
        if run.manifest.get("configuration", {}).get("smoke"):
            watermark(figure, "smoke run: not a result")
        save_figure(figure, path)
        paths.append(path)
    if failed:
        raise PlotsFailed(
            f"{run.folder} holds a complete run, but {len(failed)} of its {len(failed) + len(paths)} plots could not be drawn: "
            f"{'; '.join(failed.values())}; once the cause is gone, posterity report {run.folder} draws them.",
            tuple(failed),
        )
    return paths
