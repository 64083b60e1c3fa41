"""New Zealand's BA.5 wave, June to August 2022: what differs from the study of the first Omicron wave.

Fixed before any later week was looked at: weeks ending 5 June to 10 July 2022 are fitted, those ending 17 July to 28 August are forecast.
BA.2 still went round when the study begins, so infections up to 22 May come from the cases reported then; from 23 May on they are simulated.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import epi.study as epi
from epi.study import LogitNormal, LogNormal, Normal
from experiments.nz_calibration.study import study as first

HERE = Path(__file__).parent
OPEN = date(2022, 5, 23)
"""First day on which infections are simulated outside the home; those before are given."""
COUNTED_ON = date(2022, 4, 10)
"""Infections up to this day are prior ones."""
DOSES_ON = date(2022, 5, 10)
"""Day of the table of doses."""


def shared(table: str) -> str:
    """A table of the first study that holds for this one as well: households, schools, work, places of the districts."""
    return Path(os.path.relpath(first.data / table, HERE / "data")).as_posix()


calendar = epi.Calendar(
    start=date(2022, 4, 11),
    first_week=date(2022, 6, 5),
    forecast_from=date(2022, 7, 10),
    last_week=date(2022, 8, 28),
    open_from=OPEN,
    # term 3 ends on 30 September
    school_terms=((date(2022, 5, 2), date(2022, 7, 8)), (date(2022, 7, 25), date(2022, 9, 30))),
)

disease = replace(
    first.disease,
    protection_midpoint=Normal(1.5, 0.25, unit="log10 titre", reason=
        "That of the first wave and 0.3: sera of the vaccinated neutralise BA.5 two to three times less than BA.1 and BA.2 "
        "(Hachmann et al. 2022, NEJM 387:86; sd widened)."),
    reference_day=date(2022, 7, 1),
)  # fmt: skip

kept = {type(part): part for part in first.parts}
parts = (
    replace(kept[epi.Households], table=shared("households.csv")),
    replace(kept[epi.Schools], table=shared("schools.csv")),
    replace(kept[epi.Workplaces], table=shared("work.csv")),
    kept[epi.Community],
    kept[epi.PrevalenceResponse],
    epi.Variant(
        advantage=LogNormal(1.4, 0.1, unit="factor", reason=
            "BA.5 grew faster than BA.2 by about 0.1 a day elsewhere (ECDC, May 2022: 13 % a day in Portugal), over a generation "
            "of 3.5 days, escape from immunity counted in (width chosen)."),
        midpoint=Normal(0.0, 5.0, unit="days", reason=
            "Days after 25 June on which half of infections were BA.4 or BA.5 (chosen, wide: about half of the cases sequenced around the "
            "turn of the month)."),
        day=date(2022, 6, 25), name="BA.5", replaces="BA.2", generation=3.5),
    kept[epi.RegionEffects],
    epi.Importations(
        LogNormal(3.0, 0.4, unit="per case", reason=
            "Hazard of infection up to 22 May over that of the reported cases: half are reported, a third come from the own household, and "
            "less than half of an exposure infects the immune (chosen, wide)."),
        age_profile="cases_age"),
    epi.Vaccination(
        states=("doses_0", "doses_1", "doses_2", "doses_3"),
        # third doses: mean of the register; chosen for people who stopped after one (children most of all) or two
        days_since_last_dose=(0.0, 120.0, 200.0, 101.0),
        counted_on=DOSES_ON, first_age=5),
    epi.PriorInfection(
        ascertainment=LogitNormal(-0.2, 0.4, unit="share", reason=
            "Share of first-wave infections that were reported: about 0.3 to the first days of March, 0.55 to 0.77 after among border workers; "
            "40-65 % (M. Plank, August 2022)."),
        protection=LogitNormal(1.3, 0.4, unit="share", reason=
            "Protection from BA.4 and BA.5 by an infection with BA.1 or BA.2: 76 % after some months (Altarawneh et al. 2022, NEJM 387:1620), "
            "75 % (Malato et al. 2022, NEJM 387:953)."),
        half_life=LogNormal(250.0, 0.5, unit="days", reason="Days in which that protection halves (chosen, wide)."),
        against_severe=LogitNormal(0.0, 0.7, unit="share", reason=
            "Further fall of severity if somebody infected before is infected again (chosen, wide)."),
        counted_on=COUNTED_ON),
    epi.Reporting((epi.ReportingRegime("rat", LogitNormal(0.0, 0.5, unit="share", reason=
        "Share of infections reported: 0.55 among border workers in June and July, 40-65 % (M. Plank, August 2022)."), label="rapid tests"),)),
    kept[epi.Severity],
    kept[epi.Fatality],
)  # fmt: skip

DROPPED = ("occupancy_district", "wastewater_area", "border_cohort")
streams = (
    *(replace(s, table="cases_age.csv") if s.name == "admissions_age" else s for s in first.streams if s.name not in DROPPED),
    replace(first.stream("border_cohort"), gaps=True),
)  # fmt: skip

study = replace(
    first,
    name="nz_ba5",
    title="New Zealand's BA.5 wave",
    data=HERE / "data",
    region=replace(first.region, table=shared("districts.csv")),
    calendar=calendar,
    disease=disease,
    parts=parts,
    streams=streams,
    transmission_walk=epi.RandomWalk(start=OPEN, sds=(0.1, 0.25, 0.25), step=Normal(0.0, 1.0, unit="standardised", reason=
        "Steps of a four-weekly random walk in log transmission outside the home, as in the study of the first wave.")),
    fit_to=("cases", "admissions", "deaths", "border"),
    measures=None,
)  # fmt: skip
