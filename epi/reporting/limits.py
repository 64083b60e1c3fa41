"""What a reader must not take from a report: generated from the parts of the study and the files of the run."""

from __future__ import annotations

from datetime import date

from epi.outputs.run_files import RunFiles
from epi.reporting.sentences import day, listed, percent
from epi.study import NaturalHistory, PrevalenceResponse, PriorInfection, Reporting, Vaccination, Variant, WithinHost
from epi.study import RandomWalk as Walk

NARROW = 0.85
"""Coverage of 95 % intervals below which a stream is named among the limits."""


def limits(run: RunFiles) -> list[str]:
    """Sentences, the most important first.

    Args:
        run: a finished run.
    """
    return [
        *_status(run),
        *_hindsight(run),
        *_scores(run),
        *_reporting(run),
        *_disease(run),
        *_behaviour(run),
        *_draws(run),
        "Sensitivities are derivatives where the posterior lies, extended along straight lines. Far from there a swing is a direction and "
        "a size, not a forecast.",
        f"The model covers the time to {day(run.weeks[-1])}: what comes after is not in it.",
    ]


def retrospective(run: RunFiles) -> bool:
    """Whether the forecast weeks were over when the run was made."""
    started = str(run.manifest.get("started", ""))[:10]
    return bool(started) and date.fromisoformat(started) > date.fromisoformat(run.weeks[-1])


def _status(run: RunFiles) -> list[str]:
    status = run.manifest["status"]
    if status in ("complete", "drawing"):
        return []
    return [f"This run's status is “{status}”, not “complete”: some numbers may be missing."]


def _hindsight(run: RunFiles) -> list[str]:
    if not retrospective(run):
        return []
    text = (
        f"The forecast is retrospective: the weeks from {day(run.forecast_from)} were over when this run was made. The likelihood did not "
        "use them"
    )
    own = run.study.development
    return (
        [f"{text}, but {own}"]
        if own
        else [f"{text}; the study does not say whether they guided how the model was built."]
    )


def _scores(run: RunFiles) -> list[str]:
    """Streams whose intervals held too few observations."""
    found = []
    for name in run.streams:
        for period, row in run.scores.get(name, {}).get("overall", {}).items():
            covered = row.get("coverage_95")
            if covered is not None and covered < NARROW:
                found.append(f"{run.study.stream(name).description} {period} weeks ahead ({percent(covered)})")
    return [f"95 % intervals were too narrow for {listed(found)}: they held the share in brackets."] if found else []


def _reporting(run: RunFiles) -> list[str]:
    part = run.study.part(Reporting)
    if part is None:
        return []
    starts = [day(r.start.isoformat()) for r in part.regimes if r.start is not None]
    each = f"one value before and one after {listed(starts)}" if starts else "one value"
    return [
        f"Reported cases are a share of infections. The model estimates that share with {each}; within each it is constant, and the same "
        "everywhere."
    ]


def _disease(run: RunFiles) -> list[str]:
    study, found = run.study, []
    variants = study.parts_of(Variant)
    if variants:
        names = listed([v.name for v in variants])
        found.append(
            f"A variant enters as a rise of transmission ({names}); its severity and immune escape are those of what it replaces."
        )
    else:
        found.append("The model has one variant: no other takes over.")
    if isinstance(study.disease, NaturalHistory):
        found.append("Nobody is infected twice in this model.")
    elif isinstance(study.disease, WithinHost):
        found.append("People can be infected again as antibody wanes; a second infection is as severe as a first.")
    if study.part(PriorInfection) is None:
        found.append("Nobody is immune from an infection before the first day.")
    if study.part(Vaccination) is not None:
        found.append("Doses are those of the study's tables; what was given later is not in the model.")
    return found


def _behaviour(run: RunFiles) -> list[str]:
    study, found = run.study, []
    if study.part(PrevalenceResponse) is not None:
        found.append(
            "Caution follows the infections of a region, with one strength for everybody; rules and weather are in it too."
        )
    if isinstance(study.transmission_walk, Walk):
        found.append("Changes of transmission without a named cause are a random walk: they say when, not why.")
    venues = listed([str(v.layer) for v in study.venues])
    found.append(
        f"People meet at home{', in ' + venues if venues else ''} and in the community. Other places count as community."
    )
    return found


def _draws(run: RunFiles) -> list[str]:
    manifest, found = run.manifest, []
    people, agents = float(run.people_by_region.sum()), manifest.get("agents")
    if manifest.get("sampler"):
        found.append(
            "Draws are those of Hamiltonian chains on an emulator of the model, not on the model itself; the check of the emulator says how "
            "far that can be trusted."
        )
    else:
        found.append("Intervals are those of a fitted distribution, not of a sampler.")
    if agents and agents < 0.999 * people:
        found.append(f"Derivatives come from a sample of {agents:,} agents for {people:,.0f} people.")
    return found
