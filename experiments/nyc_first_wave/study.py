"""New York City's first wave, February to June 2020: every fact of the study.

Weeks ending 7 March to 18 April are fitted, those ending 25 April to 27 June are forecast: fixed before the first fit. Cases are no stream: in
that spring they followed the supply of tests, so that the share of infections found is an output (`docs/nyc.md`).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import epi.study as epi
from epi.study import Delay, Gamma, LogitNormal, LogNormal, LogNormalError, NegativeBinomial, Normal, Parameter

BOROUGHS = ("Bronx", "Brooklyn", "Manhattan", "Queens", "Staten Island")

PLACES = {
    "Bronx": (40.85, -73.87),
    "Brooklyn": (40.65, -73.95),
    "Manhattan": (40.78, -73.97),
    "Queens": (40.73, -73.79),
    "Staten Island": (40.58, -74.15),
}
"""Latitude and longitude of the middle of each borough, to a hundredth of a degree."""

GROUPS = {
    "0-17": ("0-4", "5-12", "13-17"),
    "18-44": ("18-24", "25-34", "35-44"),
    "45-64": ("45-54", "55-64"),
    "65-74": ("65-74",),
    "75+": ("75+",),
}
"""Ages of the counts by borough and age."""

SURVEY_AGES = {"18-34": ("18-24", "25-34"), "35-44": ("35-44",), "45-54": ("45-54",), "55+": ("55-64", "65-74", "75+")}
"""Ages of the survey among shoppers."""

EMERGENCY, SCHOOLS_CLOSE, PAUSE = date(2020, 3, 12), date(2020, 3, 16), date(2020, 3, 22)
"""State of emergency; schools closed to pupils; all on-site work that is not essential ended (New York on PAUSE)."""

COUNTED_ON = date(2020, 4, 18)
"""Week at whose end the composition by age is taken to hold."""

calendar = epi.Calendar(
    start=date(2020, 2, 1),
    first_week=date(2020, 3, 7),
    forecast_from=date(2020, 4, 18),
    last_week=date(2020, 6, 27),
    masked_weeks=(date(2020, 3, 7), date(2020, 3, 14)),
    masked_because="tests were so scarce until mid-March that few of those admitted were confirmed",
    # the closure is a dated change of its own, so that its size is free
    school_terms=((date(2020, 2, 1), date(2020, 2, 14)), (date(2020, 2, 24), date(2020, 6, 26))),
)

disease = epi.NaturalHistory(
    # mean generation interval 5.8 days: 5.2 (Singapore) and 4.0 (Tianjin) in Ganyani et al. 2020, Eurosurveillance 25:2000257; 5.0 in Ferretti
    # et al. 2020, Science 368:eabb6936, where spread was slowed by tracing (chosen)
    latent=Gamma(3.3, 1.5),
    infectious=Gamma(4.2, 2.0),
    susceptibility=LogNormal(1.0, 0.25, unit="factor", reason=
        "Susceptibility of an age band over the others; below 20 about half of that of adults (Davies et al. 2020, Nat Med 26:1205; the same "
        "prior for all bands, chosen)."),
)  # fmt: skip

parts = (
    epi.Households(LogNormal(0.35, 0.4, unit="per infection", reason=
        "Hazard that one infectious member passes on to one other over an infection: a secondary attack rate of 17 % pooled over studies of "
        "early 2020 (Madewell et al. 2020, JAMA Netw Open 3:e2031756), more without isolation (chosen)."), grown=18),
    epi.Schools(LogNormal(0.6, 0.5, unit="per infection", reason=
        "Infections a case would cause in its school group if all were susceptible and every day a school day (chosen, wide)."),
        pupils_per_teacher={"high": 14.0, "middle": 14.0, "primary": 14.0}),
    epi.Workplaces(LogNormal(0.8, 0.5, unit="per infection", reason="As for schools, at work, every day a working day (chosen, wide)."),
        # share in work by age, the shape alone (chosen; workers of 16 and more by borough are counted)
        employment=(0.0, 0.0, 0.05, 0.55, 0.82, 0.82, 0.79, 0.66, 0.27, 0.06)),
    epi.Community(LogNormal(2.0, 0.35, unit="per infection", reason=
        "As for schools, elsewhere, transit included; with the others a reproduction number of about 3.5, for doubling in 3 days (chosen)."),
        assortativity=LogitNormal(-1.0, 0.7, unit="share", reason="Share of community contacts kept within the own age band (chosen, wide)."),
        coupling=LogitNormal(-1.1, 0.5, unit="share", reason=
            "Share of community contacts in other boroughs: 43 % of those who live and work in the city work in another borough "
            "(American Community Survey 2009-2013), most other contacts are nearer home (chosen)."),
        gravity_length=15.0),
    epi.RegionEffects(LogNormal(0.15, 0.5, unit="log scale", reason=
        "Standard deviation of the borough effects on log community transmission (chosen)."),
        Normal(0.0, 1.0, unit="standardised", reason="Borough effects on log community transmission, in units of borough_spread.")),
    epi.Intervention("distancing", LogNormal(0.75, 0.3, unit="factor", reason=
        "Contacts at work and elsewhere from 12 March on, over those before: state of emergency, and what people did by themselves "
        "(chosen, wide)."), EMERGENCY, layers=("work", "community")),
    epi.Intervention("school_closure", LogitNormal(-2.5, 1.0, unit="share", reason=
        "Contacts of school groups that are left with schools closed (chosen: few, children of essential workers)."), SCHOOLS_CLOSE,
        layers=("school",)),
    epi.Intervention("pause_work", LogitNormal(-0.4, 0.7, unit="share", reason=
        "Contacts at work that are left by PAUSE, over those from 12 March on (chosen, wide)."), PAUSE, layers=("work",)),
    epi.Intervention("pause_community", LogitNormal(-0.4, 0.7, unit="share", reason=
        "Contacts elsewhere that are left by PAUSE, over those from 12 March on (chosen, wide)."), PAUSE, layers=("community",)),
    epi.Seeding(
        level=LogNormal(3.0, 0.7, unit="per 10,000", reason=
            "People infected from outside in February: community spread by mid-February, introduced mostly from Europe (Gonzalez-Reiche et al. "
            "2020, Science 369:297); as many as lead to some 3,000 infections a day a week into March (chosen, wide)."),
        growth=LogNormal(0.15, 0.4, unit="per day", reason="Exponential growth of these (chosen, wide): date and number are free together."),
        sd=LogNormal(0.4, 0.4, unit="log scale", reason="Standard deviation of the borough effects on log seeding (chosen)."),
        effect=Normal(0.0, 1.0, unit="standardised", reason="Borough effects on log seeding, in units of seed_spread."),
        until=date(2020, 3, 1)),
    epi.Severity(
        level=LogNormal(0.015, 0.7, unit="per infection", reason=
            "Admissions per infection at age 35: 3.4 % of infections are severe enough at 30-39, 1.0 % at 20-29 (Verity et al. 2020, Lancet "
            "Infect Dis 20:669); lower, since New York's hospitals turned to the ill alone (width chosen)."),
        age=LogNormal(0.45, 0.3, unit="per decade", reason="Log-linear growth of severity with age: 3.4 to 18.4 % from 35 to 80 and more there "
            "(0.4 per decade, width chosen)."),
        band=Normal(0.0, 1.0, unit="standardised", reason="Severity of an age band off the line: exp(0.5 * effect) (chosen, wide).")),
    epi.Fatality(
        level=LogNormal(0.043, 0.4, unit="per infection", reason=
            "Deaths per infection at 70-79: 4.3 % (95 % interval 1.9-8.0), Verity et al. 2020, Lancet Infect Dis 20:669, of 30 March."),
        age=LogNormal(1.0, 0.12, unit="per decade", reason=
            "Growth of log fatality with age there: 0.6 % at 50-59, 1.9 at 60-69, 4.3 at 70-79, 7.8 at 80 and more."),
        reference_age=75.0),
)  # fmt: skip


def scatter(name: str, median: float, sd: float, reason: str) -> Parameter:
    """The parameter by which a stream scatters."""
    return Parameter(f"dispersion_{name}", LogNormal(median, sd, unit="relative sd", reason=reason), observation=True)


ages = scatter(
    "ages",
    0.15,
    0.4,
    "Standard deviation of the log odds of ages of a borough around their expectation: what the model misses (chosen).",
)
# incubation of 5.5 days (Lauer et al. 2020, Ann Intern Med 172:577) and 5 days from symptoms to admission (chosen)
ADMISSION = Delay(10.5, 5.0, longest=35)

streams = (
    epi.Admissions(by="borough", table="first_wave.csv", delay=ADMISSION, complete=True, masked=True, family=NegativeBinomial(
        scatter("admissions", 0.12, 0.5, "Relative sd of weekly admissions of a borough around their expectation (chosen)."))),
    # onset to death 20 days without those still to die, 15 of those who died in January alone (Linton et al. 2020, J Clin Med 9:538);
    # in the city deaths peaked 8 days after admissions, known at the forecast date (chosen)
    epi.Deaths(by="borough", table="first_wave.csv", delay=Delay(20.0, 9.0, longest=63), complete=True, family=NegativeBinomial(
        scatter("deaths", 0.12, 0.5, "The same for weekly deaths, confirmed and probable."))),
    epi.AgeComposition(of="admissions_borough", table="admissions_age.csv", groups=GROUPS, family=LogNormalError(ages)),
    epi.AgeComposition(of="deaths_borough", table="deaths_age.csv", groups={"0-44": (*GROUPS["0-17"], *GROUPS["18-44"]), **{
        name: GROUPS[name] for name in ("45-64", "65-74", "75+")}}, family=LogNormalError(ages)),
    epi.SyndromicVisits(by="borough", table="visits.csv", column="visits", option="emergency", delay=Delay(8.5, 4.0),
        per_infection=LogNormal(0.05, 0.7, unit="visits per infection", reason="Visits with such an illness (chosen, wide)."),
        baseline=LogNormal(60.0, 0.5, unit="per 100,000 a week", reason="Visits for other causes: influenza in February (chosen)."),
        title="Visits to emergency departments, by borough", family=LogNormalError(
            scatter("visits", 0.25, 0.4, "The same for weekly visits; influenza ends and fear of hospitals grows meanwhile (chosen)."))),
    epi.Serosurvey(by="survey_age", age_groups=SURVEY_AGES, name="serosurvey", table="serosurvey.csv",
        sensitivity=epi.Beta(205.0, 31.0, reason="204 of 234 samples of known infected people read positive (Rosenberg et al. 2020, doi "
            "10.1016/j.annepidem.2020.06.004)."),
        specificity=epi.Beta(288.0, 2.0, reason="287 of 288 samples of people without infection read negative (same source)."),
        # median 11 days from symptoms (Long et al. 2020, Nat Med 26:845, IgG 13 days) and incubation
        seroconversion=Delay(17.0, 6.0, longest=49),
        title="Positive in the survey among shoppers, by age"),
    epi.Infections(by="borough"),
)  # fmt: skip

study = epi.Study(
    name="nyc_first_wave",
    title="New York City's first wave",
    country="New York City",
    attribution="Admissions, deaths, cases, emergency department visits: New York City Department of Health and Mental Hygiene "
    "(nychealth/coronavirus-data). Population: the same Department's estimates for mid-2019. Household sizes: NYC Department of City Planning, "
    "2010 census (Apache-2.0). Workers: American Community Survey 2015-2019 by NYC Planning (MIT). Antibody survey: New York State Department "
    "of Health, Rosenberg et al. 2020, counts as transcribed in mrc-ide/reestimate_covidIFR_analysis. Commits and licences: data/README.md.",
    data=Path(__file__).parent / "data",
    region=epi.Region("borough", BOROUGHS, plural="boroughs", coordinates=PLACES),
    ages=epi.AgeBands((0, 5, 13, 18, 25, 35, 45, 55, 65, 75), oldest=90, open_midpoint=82.0),
    calendar=calendar,
    disease=disease,
    parts=parts,
    streams=streams,
    # after the fitted weeks: masks from mid-April, reopening from 8 June; four-weekly steps
    transmission_walk=epi.RandomWalk(start=date(2020, 3, 28), sds=(0.1, 0.15, 0.15), step=Normal(0.0, 1.0, unit="standardised", reason=
        "Steps of a four-weekly random walk in log transmission outside the home from 25 April on (chosen).")),
    fit_to=("admissions", "deaths", "ages"),
)  # fmt: skip
