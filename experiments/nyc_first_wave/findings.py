"""`python -m experiments.nyc_first_wave.findings RUN`: what the fitted run says, next to what was published or found.

Nothing is simulated but the days after the last week that the surveys need. Writes `results/findings.csv`.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
import xarray as xr
from numpy.typing import NDArray

from calib.storage import atomic_write_csv
from epi.model.antibody import positive_on
from epi.model.serology import SurveyDesign, window_mean
from epi.outputs.reload import Fitted, rebuild
from epi.outputs.run_files import RunFiles
from epi.outputs.serosurvey import Cells, cells_of, infections_of, survey_table
from epi.study import Delay
from experiments.nyc_first_wave.study import study
from posterity.commands.usage import run as run_module

HERE = Path(__file__).parent
Array = NDArray[np.float64]

YANG = "Yang et al. 2021, Lancet Infect Dis 21:203 (1 March to 6 June 2020; 95 % credible interval)"
PUBLISHED_IFR = {
    "25-44": (0.116, 0.0729, 0.148),
    "45-64": (0.939, 0.729, 1.19),
    "65-74": (4.87, 3.37, 6.89),
    "75+": (14.2, 10.2, 18.1),
    "all": (1.39, 1.04, 1.77),
}
"""Deaths for each 100 infections, confirmed and probable."""
BANDS = {"25-44": ("25-34", "35-44"), "45-64": ("45-54", "55-64"), "65-74": ("65-74",), "75+": ("75+",)}

GROCERY = SurveyDesign(date(2020, 4, 19), date(2020, 4, 28), sensitivity=0.87, specificity=0.997)
ANNOUNCED = SurveyDesign(date(2020, 4, 19), date(2020, 5, 1), sensitivity=0.87, specificity=0.997)
DELIVERY_AGES = (18, 44)
SWAB = (Delay(4.0, 1.5), Delay(18.0, 8.0, longest=60))
"""From infection to the first positive swab, and days for which swabs stay positive (chosen: about three weeks after infection in all)."""


def row(
    quantity: str, place: str, draws: Array, published: tuple[float, ...] = (), source: str = ""
) -> dict[str, object]:
    """One row of the findings: median and 95 % interval, and what was published."""
    low, middle, high = np.nanquantile(draws, [0.025, 0.5, 0.975])
    known = dict(zip(("published", "published_low", "published_high"), published, strict=False))
    return {"quantity": quantity, "place": place, "median": middle, "low": low, "high": high, **known, "source": source}


def fatality(derived: xr.Dataset) -> list[dict[str, object]]:
    """Infection-fatality ratio by the ages of the published estimate, per cent."""
    infected = derived["infections_age"].sum("week")
    dead = infected * derived["infection_fatality_ratio_age"] / 100
    out = []
    for name, bands in BANDS.items():
        share = 100 * dead.sel(age=list(bands)).sum("age") / infected.sel(age=list(bands)).sum("age")
        out.append(row("infection-fatality ratio (%)", name, share.values, PUBLISHED_IFR[name], YANG))
    whole = 100 * dead.sum("age") / infected.sum("age")
    out.append(row("infection-fatality ratio (%)", "all", whole.values, PUBLISHED_IFR["all"], YANG))
    return out


def infections(derived: xr.Dataset, people: dict[str, float]) -> list[dict[str, object]]:
    """Infections, attack rates and infections for each case, by borough and for the city."""
    total, cases = derived["infections_borough"].sum("week"), pd.read_csv(study.data / "first_wave.csv")
    counted, out = cases.groupby("borough")["cases"].sum(), []
    for place in (*study.region.names, "Citywide"):
        own = total.sum("borough") if place == "Citywide" else total.sel(borough=place)
        number = sum(people.values()) if place == "Citywide" else people[place]
        reported = counted.sum() if place == "Citywide" else counted[place]
        known = (
            ((1_700_000 / 1e6,), "Stadlbauer et al. 2021, Nature 590:146: about 1.7 million")
            if place == "Citywide"
            else ((), "")
        )
        out.append(row("infections to 27 June (millions)", place, own.values / 1e6, *known))
        out.append(row("attack rate to 27 June (%)", place, 100 * own.values / number))
        out.append(row("infections for each case", place, own.values / reported))
    return out


def reproduction(derived: xr.Dataset) -> list[dict[str, object]]:
    """Rt of the city by week."""
    found = derived["rt_all"]
    return [
        row("Rt", str(w), found.sel(week=w).values)
        for w in found["week"].values
        if np.isfinite(found.sel(week=w)).any()
    ]


def surveys(daily: torch.Tensor, people: torch.Tensor) -> list[dict[str, object]]:
    """Predicted shares that test positive, per cent, next to what the survey among shoppers found."""
    found, out = pd.read_csv(study.data / "surveys.csv"), []
    adults = cells_of(
        study, daily, people, [(18, None)], whole="Citywide", whole_ages=[(18, 34), (35, 44), (45, 54), (55, None)]
    )
    for design, kinds in ((GROCERY, ("weighted", "crude")), (ANNOUNCED, ("as announced",))):
        table = survey_table(adults, [design], quantiles=(0.025, 0.5, 0.975))
        table = table[table["quantity"] == "seropositive"]
        for _, observed in found[found["percent_kind"].isin(kinds)].iterrows():
            own = table[(table["area"] == observed["area"]) & (table["age_band"] == observed["age_band"])]
            value = own.set_index("quantile")["value"]
            quantity, place = (
                f"positive in the survey (%), {observed['percent_kind']}",
                f"{observed['area']} {observed['age_band']}",
            )
            interval = {"median": value[0.5], "low": value[0.025], "high": value[0.975]}
            known = {"published": observed["percent_positive"], "source": observed["survey"]}
            out.append({"quantity": quantity, "place": place, **interval, **known})
    return out


def deliveries(daily: torch.Tensor, people: torch.Tensor, table: pd.DataFrame) -> list[dict[str, object]]:
    """Share of people of 18 to 44 with a positive swab by week, next to women tested on admission to give birth."""
    cells: Cells = cells_of(study, daily, people, [DELIVERY_AGES], whole="Citywide")
    positive, out = positive_on(cells.infections, cells.people, *SWAB), []
    table = table[table["area"].isin(study.region.names)]
    for (area, start), observed in table.groupby(["area", "week_starting"]):
        first = date.fromisoformat(str(start))
        design = SurveyDesign(first, date.fromordinal(first.toordinal() + 6))
        own = window_mean(design, positive, study.calendar)[:, [n for n, _ in cells.labels].index(str(area))]
        share = 100 * float(observed["positive"].sum() / max(observed["tested"].sum(), 1))
        place = f"{area} {start} n={int(observed['tested'].sum())}"
        out.append(row("positive swab at delivery (%)", place, 100 * own.numpy(), (share,), "Kissler et al. 2020"))
    return out


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of this study.")],
    deliveries_table: Annotated[
        Path | None, typer.Option(help="Table of swabs at delivery (week, area, tested, positive).")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Agents per person; default the run's high-fidelity scale.")
    ] = None,
    output: Annotated[Path, typer.Option(help="CSV file to write.")] = HERE / "results" / "findings.csv",
) -> None:
    """Print and write what the run says next to what was published or found."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    files = RunFiles(run)
    usual = max(float(files.manifest["configuration"][k]) for k in ("scale", "level_scale"))
    fitted: Fitted = rebuild(run, scale=scale or usual)
    daily, people = infections_of(fitted), torch.as_tensor(fitted.epidemic_data.population)
    with xr.open_dataset(run / "derived.nc", engine="h5netcdf") as data:
        derived = data.load()
    by_borough = dict(zip(study.region.names, people.sum(1).double().tolist(), strict=True))
    rows = [*infections(derived, by_borough), *fatality(derived), *reproduction(derived), *surveys(daily, people)]
    table = pd.DataFrame(rows).round(4)
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_csv(output, table)
    if deliveries_table is not None:  # compared with, never kept: its licence is the GPL
        table = pd.concat([table, pd.DataFrame(deliveries(daily, people, pd.read_csv(deliveries_table)))])
    print(table.drop(columns="source").to_string(index=False, float_format=lambda x: f"{x:.3g}", na_rep=""))


if __name__ == "__main__":
    run_module(main)
