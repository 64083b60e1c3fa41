"""A made-up study: two counties, three age bands, a plain SEIR disease, cases and admissions. Change it into yours."""

from datetime import date
from pathlib import Path

import epi
from epi import Delay, LogitNormal, LogNormal, NegativeBinomial, Normal, Parameter

# How far case counts scatter beyond Poisson because cases come in clusters: a parameter like any other, estimated from the data.
# LogNormal(median, sd of the logarithm): LogNormal(2.0, 0.4) holds 95 % of its mass between 0.9 and 4.4.
outbreaks = Parameter("cluster_size", LogNormal(2.0, 0.4, unit="cases"), observation=True)

study = epi.Study(
    name="made_up",
    title="A made-up epidemic in two counties",
    country="both counties",
    # The tables: population.csv, households.csv, schools.csv, work.csv, and one for each stream below.
    data=Path(__file__).parent / "data",
    # Names as in the first column of population.csv. Coordinates (degrees north, east) let nearer regions mix more; leave them out
    # if you have none.
    region=epi.Region("county", ("North", "South"), coordinates={"North": (50.0, 5.0), "South": (49.5, 5.2)}),
    # Lower ends of the age bands: 0-19, 20-59, 60+. For measles (0, 1, 5, 15, 40) tells infants, nursery and school apart.
    ages=epi.AgeBands((0, 20, 60), oldest=90),
    calendar=epi.Calendar(
        start=date(2030, 3, 3),  # first simulated day
        first_week=date(2030, 3, 16),  # last day of the first week of data
        forecast_from=date(2030, 4, 27),  # last week that is fitted; the weeks after it are forecast and scored
        last_week=date(2030, 5, 25),
        open_from=date(2030, 3, 10),  # until then infections only come from outside and spread at home
    ),
    # Mean and standard deviation of the latent and of the infectious period, in days. Measles: about Gamma(10.0, 2.0) and Gamma(8.0, 2.0).
    disease=epi.NaturalHistory(latent=epi.Gamma(2.5, 1.2), infectious=epi.Gamma(5.0, 2.0)),
    # Where people meet, what changes over time, and how infections become reports. Transmission at school, at work and in the community
    # is the number of infections that one case causes there if nobody is immune; at home it is the hazard for one other member.
    # For measles (R0 of 12 to 18) most of it belongs to schools and the community.
    parts=(
        epi.Households(LogNormal(0.5, 0.3, unit="per infection"), grown=20),  # grown: youngest age of a head of household
        epi.Schools(LogNormal(0.5, 0.4, unit="per infection"), pupils_per_teacher={"school": 15.0}),  # types as in schools.csv
        epi.Workplaces(LogNormal(0.4, 0.4, unit="per infection"), employment=(0.2, 0.75, 0.1)),  # share employed, by age band
        epi.Community(
            LogNormal(1.0, 0.3, unit="per infection"),
            # LogitNormal(median of the logit, its sd): -0.5 is a share of 1 / (1 + exp(0.5)) = 0.38.
            assortativity=LogitNormal(-0.5, 0.5, unit="share"),  # contacts kept to one's own age band
            coupling=LogitNormal(-2.5, 0.5, unit="share"),  # contacts in the other county
        ),
        epi.RegionEffects(LogNormal(0.1, 0.4, unit="log scale")),  # how far counties differ in transmission
        epi.Seeding(LogNormal(30.0, 0.3, unit="per 10,000"), growth=LogNormal(0.1, 0.3, unit="per day")),  # before open_from
        # Share of infections that are reported as cases. A second regime, with a first day, where testing changed.
        epi.Reporting((epi.ReportingRegime("tests", LogitNormal(-0.5, 0.5, unit="share")),)),
        epi.Severity(LogNormal(0.01, 0.4), LogNormal(0.4, 0.2), band=None),  # admissions per infection at 35, and growth per decade of age
        # Immunity, for measles what matters most: epi.Vaccination (doses by age) here, immunity=epi.Immunity(...) in NaturalHistory above,
        # and epi.PriorInfection for infections of earlier years.
    ),
    # What is observed: the delay from infection (mean and sd, days) and how counts scatter about their expectation. complete: every
    # place and week is in the table.
    streams=(
        epi.Cases(by="county", delay=Delay(6.0, 2.5), complete=True, family=NegativeBinomial(LogNormal(0.15, 0.4), outbreaks)),
        epi.Admissions(by="age", delay=Delay(10.0, 4.0), complete=True, family=NegativeBinomial(LogNormal(0.2, 0.4))),
    ),
    # Transmission outside the home may change by about 10 % (sd of its logarithm) every 28 days after the start, once for each sd.
    transmission_walk=epi.RandomWalk(start=date(2030, 4, 1), sds=(0.1,), step=Normal(0.0, 1.0)),
)  # fmt: skip
