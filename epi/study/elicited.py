"""What people said they would do, as a covariate of behaviour with a calibrated strength."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from behaviour import AnswerTable, Archetypes, BehaviourError
from epi.errors import StudyError
from epi.study.parameter import Parameter
from epi.study.priors import HalfNormal, LogitNormal, Normal, Prior

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = ["ElicitedBehaviour"]

Affects = Literal["isolation", "testing", "work"]


@dataclass(frozen=True, eq=False)
class ElicitedBehaviour:
    """Answers of archetypes to a question, which may say something about what these people do, or nothing, or the opposite.

    With the answer a of an archetype as log odds, at the incidence that was reported the week before, and its mean over archetypes and grid,

        logit p = level + strength * (a - mean) + sd * u,   u ~ N(0, 1) for each archetype.

    A strength of 0 means that the answers say nothing, 1 that they are to be taken at their word, below 0 that they are the wrong way round.

    * `affects="testing"`: p is the share of an archetype's infections that is reported; the level is that of `Reporting`.
    * `affects="isolation"`: p is the share that isolates when infected, by which infectiousness falls by `effect`; over that of all people, so
      that transmission rates keep their meaning. Archetypes by age alone.
    * `affects="work"`: p is the share that stays away from work; contacts there fall with the square of who is there.

    Attributes:
        table: the answers, or the folder of a saved table. Archetypes by "age", by the axis of the regions, or by both.
        affects: what p is.
        strength: prior.
        level: prior of the level; of no use for testing.
        sd: prior of the standard deviation of archetypes off their answers, log odds.
        effect: prior of the fall of infectiousness or presence of those who do; of no use for testing.
        stream: stream of counts from which the context, the reported incidence per 100,000 people and week, is taken; None for the first.
        key: how its parameters are named: `<key>_strength`, `<key>_sd`, `<key>_deviation`, `<key>_level`, `<key>_effect`.
    """

    table: AnswerTable | Path | str
    affects: Affects
    strength: Prior = field(
        default=Normal(0.0, 1.0, unit="factor", reason="No information to taken at its word, either way (chosen).")
    )
    level: Prior = field(default=Normal(0.0, 1.0, unit="log odds", reason="Chosen, wide."))
    sd: Prior = field(default=HalfNormal(0.5, unit="log odds", reason="Archetypes off their answers (chosen)."))
    effect: Prior = field(
        default=LogitNormal(0.0, 0.5, unit="share", reason="Fall of contacts of those who do (chosen).")
    )
    stream: str | None = None
    key: str = "behaviour"

    def __post_init__(self) -> None:
        if self.affects not in ("isolation", "testing", "work"):
            raise StudyError(f"ElicitedBehaviour affects {self.affects!r}; choose isolation, testing or work.")

    @cached_property
    def answers(self) -> AnswerTable:
        """The table, read.

        Raises:
            StudyError: it cannot be read.
        """
        if isinstance(self.table, AnswerTable):
            return self.table
        try:
            return AnswerTable.load(self.table)
        except BehaviourError as error:
            raise StudyError(str(error)) from error

    @property
    def archetypes(self) -> Archetypes:
        """Who was asked."""
        return self.answers.archetypes

    @property
    def changes_hosts(self) -> bool:
        """Whether tables of hosts depend on its parameters."""
        return self.affects == "isolation"

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Strength, scatter and deviations of archetypes; level and effect where they matter."""
        axes = {study.region.axis: study.region.names, "age": study.ages.names}
        if self.affects == "isolation":
            axes = {"age": study.ages.names}
        for name, levels in self.archetypes.attributes.items():
            if name not in axes:
                raise StudyError(
                    f"ElicitedBehaviour of {self.affects} has archetypes by {name!r}, expected {' or '.join(axes)}; ask for others."
                )
            if tuple(levels) != axes[name]:
                raise StudyError(
                    f"ElicitedBehaviour has the levels {', '.join(levels)} of {name!r}, expected those of the study: {', '.join(axes[name])}."
                )
        if self.affects == "work" and "work" not in study.layers:
            raise StudyError(f"ElicitedBehaviour affects work, and study {study.name!r} has no Workplaces; add them.")
        reports = self.affects == "testing"
        sd = Parameter(f"{self.key}_sd", self.sd, observation=reports)
        out = [Parameter(f"{self.key}_strength", self.strength, observation=reports), sd]
        if not reports:
            out += [Parameter(f"{self.key}_level", self.level), Parameter(f"{self.key}_effect", self.effect)]
        # the table is a part of what a run is: its checksum goes into the run's fingerprint with the priors
        reason = f"Archetypes off their answers (table {self.answers.sha256[:16]})."
        deviation = Normal(0.0, 1.0, unit="standardised", reason=reason)
        labels, axis = self.archetypes.labels, f"{self.key}_archetype"
        return (*out, Parameter(f"{self.key}_deviation", deviation, labels, axis, observation=reports, sd=sd.name))
