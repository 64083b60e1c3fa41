"""The ten counties as an agent-based study: households by size, ages, contacts, deaths and cases by week."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import epi
from epi import Delay, LogitNormal, LogNormal, NegativeBinomial, Normal, Parameter
from experiments.massachusetts._data import START, week_end
from experiments.massachusetts._seirm import CLOSING, TO_DEATH, TO_REPORT

COUNTIES = ("25001", "25003", "25005", "25009", "25011", "25013", "25015", "25021", "25023", "25027")
WALK_FROM = date(2020, 4, 5)
FIRST_WEEK = date(2020, 3, 14)


def study_at(epiweek: int, data: Path, horizon: int = 4) -> epi.Study:
    """The study that knows the weeks up to one and forecasts the next.

    Args:
        epiweek: last week known.
        data: folder of its tables.
        horizon: weeks that are forecast.
    """
    known, first = week_end(epiweek), LogNormal(0.4, 0.3, unit="per infection", reason=
        "Hazard that one infectious member passes on to one other: a secondary attack rate near 0.2 in homes (Madewell et al. 2020, JAMA Netw "
        "Open 3:e2031756: 0.17).")  # fmt: skip
    steps = max(1, (known - timedelta(days=7) - WALK_FROM).days // 21)
    return epi.Study(
        name="massachusetts",
        title="Ten Massachusetts counties, 2020",
        country="the ten counties",
        data=data,
        region=epi.Region("county", COUNTIES),
        ages=epi.AgeBands((0, 20, 30, 40, 50, 60, 70, 80), oldest=95),
        calendar=epi.Calendar(
            start=START, first_week=FIRST_WEEK, forecast_from=known, last_week=known + timedelta(days=7 * horizon),
            open_from=date(2020, 2, 23),
        ),
        # latent and infectious periods of the mean-field model
        disease=epi.NaturalHistory(latent=epi.Gamma(3.0, 1.5), infectious=epi.Gamma(5.0, 2.0)),
        parts=(
            epi.Households(first, grown=20),
            epi.Community(
                LogNormal(2.0, 0.25, unit="per infection", reason=
                    "Infections outside the home of a reference case before anything closed; with homes about 2.6 (chosen)."),
                contacts="contacts.csv"),
            epi.Intervention("closing", LogNormal(0.35, 0.3, unit="factor", reason=
                "Contacts outside the home fell by about two thirds when most was closed (mobility reports of 3 April 2020; width chosen)."),
                first=CLOSING[0] + (CLOSING[1] - CLOSING[0]) / 2),
            epi.RegionEffects(LogNormal(0.15, 0.4, unit="log scale", reason="Counties differ by some 15 % (chosen).")),
            epi.Seeding(LogNormal(5.0, 0.7, unit="per 10,000", reason="Infections from outside up to 8 March (chosen, wide)."),
                growth=LogNormal(0.15, 0.3, unit="per day", reason="Growth of the first weeks (chosen)."),
                sd=LogNormal(0.7, 0.3, unit="log scale", reason="Counties differ in importation (chosen)."), until=date(2020, 3, 8)),
            epi.Reporting((
                epi.ReportingRegime("scarce", LogitNormal(-3.0, 0.6, unit="share", reason="Tests were scarce in March (chosen, wide).")),
                *(() if known < date(2020, 4, 18) else (epi.ReportingRegime("more", LogitNormal(-2.0, 0.6, unit="share", reason=
                    "Tests in April and May (chosen, wide)."), start=date(2020, 3, 29)),)),
                *(() if known < date(2020, 6, 13) else (epi.ReportingRegime("many", LogitNormal(-1.5, 0.6, unit="share", reason=
                    "Tests from 24 May on (chosen, wide)."), start=date(2020, 5, 24)),)),
            )),
            epi.Fatality(LogNormal(0.028, 0.4, unit="per infection", reason="At 75: Levin et al. 2020, Eur J Epidemiol 35:1123."),
                LogNormal(1.2, 0.1, unit="per decade", reason="0.0524 log10 a year (Levin et al. 2020).")),
        ),
        streams=(
            epi.Infections(by="county"),
            epi.Deaths(by="county", gaps=True, delay=Delay(*TO_DEATH, longest=63), family=NegativeBinomial(
                LogNormal(0.2, 0.4, unit="relative sd", reason="Deaths by county and week (chosen)."),
                Parameter("death_clusters", LogNormal(1.5, 0.3, unit="deaths", reason="Outbreaks in homes (chosen)."), observation=True))),
            epi.Cases(by="county", gaps=True, delay=Delay(*TO_REPORT), family=NegativeBinomial(
                LogNormal(0.4, 0.4, unit="relative sd", reason="Cases by county and week; tests change within a regime (chosen)."))),
        ),
        transmission_walk=epi.RandomWalk(start=WALK_FROM - timedelta(days=21), sds=(0.2,) * steps, every_days=21,
            step=Normal(0.0, 1.0, unit="standardised", reason="Steps of three weeks in log transmission outside the home (chosen).")),
        fit_to=("deaths", "cases"),
    )  # fmt: skip


study = study_at(202030, Path(__file__).parent / "data")
