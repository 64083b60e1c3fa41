"""A made-up study: two counties, three age bands, a plain SEIR disease, cases and admissions. Change it into yours."""

from datetime import date
from pathlib import Path

import epi
from epi import Delay, LogitNormal, LogNormal, NegativeBinomial, Normal, Parameter

outbreaks = Parameter("cluster_size", LogNormal(2.0, 0.4, unit="cases"), observation=True)

study = epi.Study(
    name="made_up",
    title="A made-up epidemic in two counties",
    country="both counties",
    data=Path(__file__).parent / "data",
    region=epi.Region("county", ("North", "South"), coordinates={"North": (50.0, 5.0), "South": (49.5, 5.2)}),
    ages=epi.AgeBands((0, 20, 60), oldest=90),
    calendar=epi.Calendar(
        start=date(2030, 3, 3),
        first_week=date(2030, 3, 16),
        forecast_from=date(2030, 4, 27),
        last_week=date(2030, 5, 25),
        open_from=date(2030, 3, 10),
    ),
    disease=epi.NaturalHistory(latent=epi.Gamma(2.5, 1.2), infectious=epi.Gamma(5.0, 2.0)),
    parts=(
        epi.Households(LogNormal(0.5, 0.3, unit="per infection"), grown=20),
        epi.Schools(LogNormal(0.5, 0.4, unit="per infection"), pupils_per_teacher={"school": 15.0}),
        epi.Workplaces(LogNormal(0.4, 0.4, unit="per infection"), employment=(0.2, 0.75, 0.1)),
        epi.Community(
            LogNormal(1.0, 0.3, unit="per infection"),
            assortativity=LogitNormal(-0.5, 0.5, unit="share"),
            coupling=LogitNormal(-2.5, 0.5, unit="share"),
        ),
        epi.RegionEffects(LogNormal(0.1, 0.4, unit="log scale")),
        epi.Seeding(LogNormal(30.0, 0.3, unit="per 10,000"), growth=LogNormal(0.1, 0.3, unit="per day")),
        epi.Reporting((epi.ReportingRegime("tests", LogitNormal(-0.5, 0.5, unit="share")),)),
        epi.Severity(LogNormal(0.01, 0.4), LogNormal(0.4, 0.2), band=None),
    ),
    streams=(
        epi.Cases(by="county", delay=Delay(6.0, 2.5), complete=True, family=NegativeBinomial(LogNormal(0.15, 0.4), outbreaks)),
        epi.Admissions(by="age", delay=Delay(10.0, 4.0), complete=True, family=NegativeBinomial(LogNormal(0.2, 0.4))),
    ),
    transmission_walk=epi.RandomWalk(start=date(2030, 4, 1), sds=(0.1,), step=Normal(0.0, 1.0)),
)  # fmt: skip
