"""What the words of a run mean, and the refusal: tools without numbers of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from epi.analyst.source import CannotAnswer, Source, nearest
from epi.analyst.values import Result, clean
from epi.reporting.sentences import listed

__all__ = ["TERMS", "cannot", "glossary"]

TERMS = {
    "wis": "WIS, weighted interval score: mean pinball loss of a forecast's quantiles in the unit of the data; smaller is better.",
    "relative wis": "Relative WIS: mean WIS over that of the baseline; below one beats the baseline.",
    "baseline": "Baseline: the forecast that next week is like this week, with the scatter of past weekly changes.",
    "coverage": "Coverage: share of data inside the forecast's central intervals; it should be the intervals' level.",
    "r0": "R0, basic reproduction number: people whom one infected person infects if all are susceptible and nobody is vaccinated; here the "
    "largest eigenvalue of the next-generation matrix.",
    "rt": "Rt, instantaneous reproduction number: infections of a week over those that the infected before would make at a reproduction "
    "number of one.",
    "attack rate": "Attack rate: infections over people, second infections too.",
    "ascertainment": "Ascertainment: share of infections that are reported.",
    "infection-fatality ratio": "Infection-fatality ratio: deaths per infection.",
    "infection-hospitalisation ratio": "Infection-hospitalisation ratio: admissions to hospital per infection.",
    "interval": "Interval: central share of the posterior or predictive draws, ninety-five per cent unless it says otherwise.",
    "draw": "Draw: one set of parameter values from the posterior, with one simulation.",
    "prior": "Prior: what was assumed of a parameter before the data.",
    "posterior": "Posterior: what is known of a parameter after the data.",
    "k-hat": "k-hat: shape of the tail of importance weights; it says how far the fitted distribution can be trusted.",
    "r-hat": "R-hat: between-chain over within-chain spread; near one if chains have mixed.",
    "scenario": "Scenario: the calibrated epidemic simulated again with something changed, at the same draws and random numbers.",
    "sensitivity": "Sensitivity: share of the mean squared derivative of an output that a parameter has, where the posterior lies.",
    "stream": "Data stream: a weekly series that the likelihood can use, such as cases by region.",
    "next-generation matrix": "Next-generation matrix: people of each kind whom one infected person of each kind infects.",
}  # fmt: skip


def glossary(
    run: Source, term: Annotated[str, Field(max_length=60, description="A term, such as WIS, R0 or coverage.")]
) -> Result:
    """What a term means."""
    wanted = (
        term.strip()
        .lower()
        .replace("ifr", "infection-fatality ratio")
        .replace("ihr", "infection-hospitalisation ratio")
    )
    if wanted not in TERMS:
        raise CannotAnswer(
            f"The glossary has no term {clean(term, 60)!r}{nearest(wanted, TERMS)}; it has {listed(list(TERMS))}."
        )
    return Result("glossary", {"term": wanted}, (), TERMS[wanted])


def cannot(
    run: Source,
    reason: Annotated[str, Field(max_length=300, description="What the question needs that the run does not hold.")],
) -> Result:
    """Say that the run holds no answer. Use it for everything that no other tool answers: incomes, other places, other dates."""
    streams = listed([s.name for s in run.study.observed])
    said, places = clean(reason, 300).rstrip("."), listed(run.study.region.names)
    text = f"The run holds no answer to this: {said}. It has the data streams {streams}, for {places}."
    return Result("cannot", {"reason": clean(reason, 300)}, (), text, refused=True)
