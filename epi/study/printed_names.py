"""Printed names of the parameters, for readers of plots and report."""

from __future__ import annotations

import re

__all__ = ["LABELS", "plain_label"]

LABELS: dict[str, str] = {
    "viral_growth": "virus: growth in host",
    "immune_clearance": "virus: clearance in host",
    "antibody_per_dose": "antibody per vaccine dose",
    "waning_rate": "waning of antibody",
    "protection_midpoint": "titre that protects half",
    "protection_slope": "steepness of protection",
    "age_effect": "virus: clearance with age",
    "transmission_household": "transmission at home",
    "transmission_school": "transmission at school",
    "transmission_work": "transmission at work",
    "transmission_community": "transmission elsewhere",
    "assortativity": "contacts within own age",
    "coupling": "contacts across regions",
    "aversion": "prevalence response",
    "forgetting": "waning of the response",
    "seed_level": "infections at the start",
    "seed_spread": "spread of the start",
    "seed_growth": "growth of the start",
    "age_contact": "contacts at age",
    "drift": "change of transmission",
    "prior_ascertainment": "share reported, before the study",
    "prior_protection": "protection by a prior infection",
    "prior_half_life": "half-life of that protection",
    "prior_against_severe": "prior infection against severe disease",
    "importation_factor": "infections from outside over those given",
    "severity_level": "admissions per infection",
    "severity_age": "severity, per decade of age",
    "severity_band": "severity at age",
    "severity_shift": "titre that protects from severe",
    "severity_load": "severity, per log virus",
    "fatality_level": "deaths per infection at 75",
    "fatality_age": "fatality, per decade of age",
    "hospital_days": "days in hospital per admission",
    "wastewater_level": "copies shed per infection",
    "wastewater_area_effect": "wastewater level of area",
    "cluster_size": "size of outbreaks",
    "dispersion_age": "scatter of cases by age",
    "dispersion_admissions": "scatter of admissions",
    "dispersion_deaths": "scatter of deaths",
    "dispersion_occupancy": "scatter of people in hospital",
    "dispersion_wastewater": "scatter of wastewater",
}
"""Short names that fit beside a bar; a parameter that is not here is printed by its own name in words."""

_PATTERNS = (
    (r"(\w+)_advantage", "{}: advantage"),
    (r"(\w+)_midpoint", "{}: day of takeover"),
    (r"(\w+)_spread", "sd between {} effects"),
    (r"(\w+)_effect", "transmission in {}"),
    (r"(\w+)_seed", "start in {}"),
    (r"ascertainment_(\w+)", "share reported, {}"),
    (r"(\w+)_ratio", "{} over all"),
)
"""Names of parameters that hold the name of a variant or of the regions' axis, and how they are printed."""


def plain_label(name: str) -> str:
    """Printed name of a flat parameter such as `district_effect[North]`, where the study is not at hand (see `Study.label`)."""
    site, _, element = name.partition("[")
    text = LABELS.get(site)
    for pattern, label in _PATTERNS:
        found = re.fullmatch(pattern, site)
        if text is None and found:
            text = label.format(found[1].replace("_", " "))
    text = text or site.replace("_", " ")
    return f"{text}: {element.rstrip(']')}" if element else text
