"""Another region with the same tables: three districts, other ages, other dates; what is known of the disease stays."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import epi
from epi import LogitNormal, LogNormal
from tests.made_up.study import study as known

disease_parts = [part for part in known.parts if not isinstance(part, epi.Community | epi.Reporting)]

study = replace(
    known,
    name="coast",
    title="An epidemic in three districts of the coast",
    country="the coast",
    data=Path("data"),
    region=epi.Region("district", ("East", "West", "Isle"), areas={"mainland": ("East", "West"), "islands": ("Isle",)}),
    ages=epi.AgeBands((0, 20, 60), oldest=95),
    calendar=epi.Calendar(
        start=date(2031, 1, 6),
        first_week=date(2031, 1, 19),
        forecast_from=date(2031, 2, 23),
        last_week=date(2031, 3, 16),
        open_from=date(2031, 1, 13),
        masked_weeks=(date(2031, 2, 2),),
        masked_because="laboratories were closed",
        school_terms=((date(2031, 1, 13), date(2031, 2, 14)), (date(2031, 2, 24), date(2031, 4, 11))),
    ),
    parts=(
        *disease_parts,
        epi.Community(
            LogNormal(1.0, 0.3, unit="per infection"),
            assortativity=LogitNormal(-0.5, 0.5, unit="share"),
            coupling=LogitNormal(-3.0, 0.5, unit="share"),
        ),
        epi.Reporting((
            epi.ReportingRegime("clinics", LogitNormal(-1.0, 0.5, unit="share")),
            epi.ReportingRegime("home_tests", LogitNormal(0.0, 0.5, unit="share"), start=date(2031, 2, 3)),
        )),
    ),
    streams=(replace(known.stream("cases_county"), by="district", name="", table="", title="", description="", masked=True),),
    transmission_walk=replace(known.transmission_walk, start=date(2031, 2, 3)),
)  # fmt: skip
