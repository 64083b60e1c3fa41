"""Every parameter of the study: its prior, unit and reason. Each is a sample site of the Pyro model."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions.transforms import SigmoidTransform

import ode
from epi.data.load import AGE_BANDS, DISTRICTS
from epi.study.streams import AREAS

KNOTS = ("7 March", "4 April", "2 May")
"""When transmission outside the home may step to another level: every four weeks from `DRIFT_FROM` on, but the first."""

_log = math.log
_SCALARS: tuple[tuple[str, str, float, float, str, str], ...] = (
    ("transmission_household", "lognormal", _log(0.6), 0.3, "per infection",
     "Hazard that one infectious member passes on to one other over an infection; 0.6 gives a secondary attack rate of "
     "45 % among the unprotected, between the 29-42 % of Omicron household studies and their upper range (chosen)."),
    ("transmission_school", "lognormal", _log(0.7), 0.5, "per infection",
     "Infections a reference case would cause in its school group if all were susceptible and every day a school day (chosen)."),
    ("transmission_work", "lognormal", _log(0.6), 0.5, "per infection",
     "As for schools, in a workplace with every day a working day (chosen)."),
    ("transmission_community", "lognormal", _log(1.1), 0.4, "per infection",
     "As for schools, outside home, school and work; with the others a reproduction number near 2 (chosen)."),
    ("assortativity", "logitnormal", -0.6, 0.7, "share", "Share of community contacts kept within the own age band (chosen, wide)."),
    ("coupling", "logitnormal", -3.0, 0.7, "share",
     "Share of community contacts in other districts; 0.5 % of commuters leave their region, other travel is unmeasured (chosen, wide)."),
    ("aversion", "lognormal", _log(0.5), 0.7, "per 1 %/day",
     "Fall of log transmission outside the home for each 1 % of a district infected per day; fear of the wave (chosen, wide)."),
    ("forgetting", "logitnormal", math.log(0.07 / 0.93), 0.5, "per day",
     "Share of the remembered incidence replaced each day: memory of about two weeks (chosen)."),
    ("variant_advantage", "lognormal", _log(1.35), 0.08, "factor",
     "Transmission of BA.2 over BA.1: secondary attack rates of 39 and 29 % (Lyngse et al., medRxiv 30 January 2022, Nat Commun 13:5760); "
     "1.5 by a first estimate of Statens Serum Institut (27 January 2022)."),
    ("variant_midpoint", "normal", 0.0, 5.0, "days",
     "Days after 5 March on which half of infections were BA.2: a quarter of Omicron genomes, border included, on 15 February (1News, "
     "17 February), BA.2 'overtaking' on 8 March (NZ Herald); both known at the forecast date (sd chosen)."),
    ("district_spread", "lognormal", _log(0.1), 0.5, "log scale",
     "Standard deviation of the district effects on log community transmission (chosen)."),
    ("seed_level", "lognormal", _log(15.0), 0.4, "per 10,000",
     "People infected from outside their household before 7 February: some 2,300 cases were reported to then, of which the share "
     "ascertained was about 0.3, and as many were still to be reported or infected at home."),
    ("seed_spread", "lognormal", _log(0.8), 0.3, "log scale", "Standard deviation of the district effects on log seeding (chosen)."),
    ("seed_growth", "lognormal", _log(0.15), 0.3, "per day", "Exponential growth of the seeding; cases doubled about every 4 days (chosen)."),
    ("ascertainment_pcr", "logitnormal", -0.6, 0.6, "share",
     "Share of infections reported before 25 February, when PCR tests were scarce at the end (chosen, wide)."),
    ("ascertainment_rat", "logitnormal", 0.0, 0.6, "share",
     "The same with self-reported rapid tests (chosen, wide)."),
    ("severity_level", "lognormal", _log(0.0035), 0.5, "per infection",
     "Admissions per infection at age 35 without vaccine; below the infection-hospitalisation ratios of earlier variants (chosen, wide)."),
    ("severity_age", "lognormal", _log(0.45), 0.25, "per decade",
     "Log-linear growth of severity with age (form: Levin et al. 2020, Eur J Epidemiol 35:1123, for deaths; size chosen)."),
    ("fatality_level", "lognormal", _log(0.015), 0.6, "per infection",
     "Deaths per infection at age 75 without antibody; below the 2.8 % of the first variants (Levin et al. 2020; chosen, wide)."),
    ("fatality_age", "lognormal", _log(1.2), 0.1, "per decade",
     "Growth of log fatality with age: 0.0524 log10 a year, Levin et al. 2020, Eur J Epidemiol 35:1123."),
    ("hospital_days", "lognormal", _log(6.0), 0.4, "days",
     "Days in hospital for each admission for COVID-19, people who are there with it for another reason counted too (chosen)."),
    ("wastewater_level", "lognormal", _log(4.0), 1.0, "10^9 copies",
     "Genome copies in wastewater for an infection of the reference host: stool holds 10^5 to 10^8 copies/ml for days (chosen, wide)."),
    ("border_ratio", "lognormal", 0.0, 0.25, "factor",
     "Infections found among routinely tested border workers over those of all people of 20 to 69: they meet others (chosen)."),
    ("cluster_size", "lognormal", _log(5.0), 0.7, "cases",
     "Variance over mean of small weekly counts of cases: they come in outbreaks (chosen, wide)."),
    ("dispersion_district", "lognormal", _log(0.15), 0.5, "relative sd",
     "Relative sd of large weekly counts by district around their expectation: what the model misses (chosen)."),
    ("dispersion_age", "lognormal", _log(0.12), 0.5, "relative sd", "The same for weekly cases by age (chosen)."),
    ("dispersion_admissions", "lognormal", _log(0.2), 0.5, "relative sd", "The same for weekly admissions by age (chosen)."),
    ("dispersion_deaths", "lognormal", _log(0.2), 0.5, "relative sd", "The same for weekly deaths by age (chosen)."),
    ("dispersion_occupancy", "lognormal", _log(0.25), 0.5, "relative sd", "The same for people in hospital by district (chosen)."),
    ("dispersion_wastewater", "lognormal", _log(0.8), 0.3, "log scale",
     "Standard deviation of log copies a person a day of one area and week: a weekly factor of about 2 (chosen)."),
    ("dispersion_border", "lognormal", _log(0.2), 0.4, "log scale", "The same for the border workers, whose number is not given (chosen)."),
)  # fmt: skip

_VECTORS: tuple[tuple[str, str, float, float, str, str, tuple[str, ...]], ...] = (
    ("age_contact", "lognormal", 0.0, 0.3, "factor", "Community contacts of an age band over the mean (chosen).", AGE_BANDS),
    ("district_effect", "normal", 0.0, 1.0, "standardised",
     "District effects on log community transmission, in units of district_spread.", DISTRICTS),
    ("district_seed", "normal", 0.0, 1.0, "standardised",
     "District effects on log seeding, in units of seed_spread.", DISTRICTS),
    ("severity_band", "normal", 0.0, 1.0, "standardised",
     "Severity of an age band off the log-linear line: exp(0.5 * effect); infants and the old are admitted more (chosen, wide).", AGE_BANDS),
    ("wastewater_area_effect", "normal", 0.0, 1.0, "standardised",
     "Wastewater of an area off the common level, exp(0.5 * effect): sites, flow, laboratories (chosen).", tuple(AREAS)),
    ("drift", "normal", 0.0, 1.0, "standardised",
     "Steps of a four-weekly random walk in log transmission outside the home: sd 0.1 in the fitted weeks, 0.25 after them.", KNOTS),
)  # fmt: skip

OBSERVATION = (
    "ascertainment_",
    "severity_",
    "fatality_",
    "hospital_",
    "wastewater_",
    "border_",
    "dispersion_",
    "cluster_size",
)
"""How names of parameters begin that move what is seen of an epidemic and not the epidemic."""

HIERARCHY = {"district_effect": "district_spread", "district_seed": "seed_spread"}
"""Effects whose standard deviation is a parameter of its own."""
DRIFT_STEPS = (0.1, 0.25, 0.25)
"""Standard deviations of the drift's steps, log scale. In the fitted weeks behaviour is the business of aversion, which a step
more can hardly be told from; after them weekly steps of 0.1 to 0.15, usual for log reproduction numbers, add up (chosen)."""
SEVERITY_BAND = 0.5
"""Standard deviation of an age band's severity off the log-linear line, log scale."""
WASTEWATER_AREA = 0.5
"""Standard deviation of an area's wastewater off the common level, log scale."""
WITHIN_HOST = (*ode.PRIORS, *ode.SEVERITY_PRIORS)
"""Parameters that the within-host tables hang on."""


def prior(family: str, location: float, scale: float) -> TorchDistribution:
    """A prior by family name, location and scale on the unbounded axis."""
    base: TorchDistribution = dist.Normal(torch.tensor(location), torch.tensor(scale))
    if family == "normal":
        return base
    if family == "lognormal":
        return dist.LogNormal(torch.tensor(location), torch.tensor(scale))
    if family == "logitnormal":
        return dist.TransformedDistribution(base, [SigmoidTransform()])
    raise ValueError(f"prior family is {family!r}; use normal, lognormal or logitnormal.")


def sample_parameters() -> dict[str, Tensor]:
    """Draw every parameter as a Pyro site: scalars, and vectors as events (`district`, `age`, `knot`)."""
    theta: dict[str, Tensor] = {}
    for p in WITHIN_HOST:
        theta[p.name] = _sample(p.name, prior(p.family, p.location, p.scale), p.unit, p.reason, ())
    for name, family, location, scale, unit, reason in _SCALARS:
        theta[name] = _sample(name, prior(family, location, scale), unit, reason, ())
    for name, family, location, scale, unit, reason, labels in _VECTORS:
        fn = prior(family, location, scale).expand(torch.Size([len(labels)])).to_event(1)
        theta[name] = _sample(name, fn, unit, reason, labels)
    return theta


def _sample(name: str, fn: TorchDistribution, unit: str, reason: str, labels: tuple[str, ...]) -> Tensor:
    described: Any = {"unit": unit, "reason": reason, "labels": labels}
    value: Tensor = pyro.sample(name, fn, infer=described)
    return value
