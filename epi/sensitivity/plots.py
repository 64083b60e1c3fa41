"""Plots of a sensitivity report, from its files alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from calib.plotting import plot_shares_over_time, plot_tornado, save_figure
from epi.sensitivity import plots_global as shapes
from epi.sensitivity import plots_maps as maps
from epi.study.printed_names import plain_label as label

PLOTS = "figures"
TOP = 12


def draw_all(folder: Path) -> list[str]:
    """Draw what the folder's tables allow; returns the names of the plots written, in order."""
    made = []
    for name, figure in _plots(folder):
        save_figure(figure, folder / PLOTS / f"{name}.png")
        made.append(name)
    return made


def _plots(folder: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202 (a generator of pairs)
    def table(name: str) -> pd.DataFrame | None:
        file = folder / name
        return pd.read_csv(file, keep_default_na=True) if file.is_file() else None

    first = table("level1.csv")
    if first is not None:
        for k, output in enumerate(first["output"].unique()[:2]):
            yield f"tornado_{k + 1}", tornado(first[first["output"] == output])
    weekly = table("level1_time.csv")
    if weekly is not None:
        for over in ("prior", "posterior"):
            yield f"course_{over}", course(weekly, over)
    file = folder / "every_input.nc"
    if file.is_file():
        with xr.open_dataset(file, engine="h5netcdf") as data:
            data.load()
        yield "venues_weeks", maps.venues(data)
        yield "arrivals", maps.arrivals(data)
        yield "kinds", maps.kinds(data)
        yield "regions", maps.regions(data)
    wide = table("global.csv")
    if wide is not None:
        yield "shares", shapes.brackets(wide)
        yield "groups", shapes.groups(wide)
        path = table("global_path.csv")
        if path is not None:
            yield "convergence", shapes.convergence(path)
    versus, dear = table("comparison.csv"), table("reference.csv")
    if versus is not None and dear is not None:
        yield "methods", shapes.methods(versus)
        if wide is not None:
            yield "agreement", shapes.agreement(dear, wide)
    checked = table("check.csv")
    if checked is not None:
        yield "check", shapes.checked(checked)


def tornado(rows: pd.DataFrame) -> Figure:
    """Change of one output across the prior and across the posterior."""
    single = rows[rows["level"] == "parameter"]
    prior = single[single["measure"] == "prior_swing"].set_index("parameter")
    after = single[single["measure"] == "posterior_swing"].set_index("parameter")
    top = prior["index"].abs().sort_values(ascending=False).index[:TOP]
    return plot_tornado(
        [label(str(name)) for name in top],
        prior.loc[top, "index"],
        prior.loc[top, "low"],
        prior.loc[top, "high"],
        after.loc[top, "index"],
        str(rows["unit"].iloc[0]),
        f"{rows['output'].iloc[0]}: change across the prior and across what the fit leaves open",
    )


def course(weekly: pd.DataFrame, over: str) -> Figure:
    """Shares of the variance of each week's national cases."""
    rows = weekly[(weekly["stream"] == "cases") & (weekly["over"] == over)]
    shares = rows.pivot(index="site", columns="week", values="share")
    top = shares.abs().max(axis=1).sort_values(ascending=False).index[:TOP]
    kind = "if all were as uncertain as their priors" if over == "prior" else "left by the fit"
    return plot_shares_over_time(
        np.clip(shares.loc[top].to_numpy(), 0, 1),
        [label(str(name)) for name in top],
        [str(w) for w in shares.columns],
        None,
        f"Variance of each week's national cases, {kind}",
    )
