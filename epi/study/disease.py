"""What an infection does to a host: a within-host model, or delays of a plain SEIR disease."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date
from typing import TYPE_CHECKING, Literal

from epi.errors import StudyError
from epi.study.parameter import Parameter
from epi.study.priors import Gamma, Prior

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = ["Immunity", "NaturalHistory", "WithinHost"]


@dataclass(frozen=True)
class WithinHost:
    """The within-host model of package `ode`: virus, immune clearance and antibody decide who infects, resists and falls ill.

    Attributes:
        viral_growth: growth rate of virus in a host without antibody, per day.
        immune_clearance: loss of infected cells before antibody acts, at age 35, per day.
        antibody_per_dose: rise of the titre by one dose, log10.
        waning_rate: decay of that titre, per day.
        protection_midpoint: titre at which half of the exposures that would infect do not, log10.
        protection_slope: slope of the log-odds of protection, per log10 titre.
        age_effect: slowing of clearance per decade of age above 35.
        severity_shift: titre that halves severe disease over that which halves infection, log10.
        severity_load: effect of the peak load on severity, per log10 copies.
        days: days after which nobody is infectious.
        reference_day: day of most infections; the susceptibility of somebody infected before is relative to people infected then and
            not before. None for the forecast date.
    """

    viral_growth: Prior
    immune_clearance: Prior
    antibody_per_dose: Prior
    waning_rate: Prior
    protection_midpoint: Prior
    protection_slope: Prior
    age_effect: Prior
    severity_shift: Prior
    severity_load: Prior
    days: int = 14
    reference_day: date | None = None

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The priors of the within-host model, in its own order."""
        return tuple(
            Parameter(f.name, getattr(self, f.name), observation=f.name.startswith("severity_"))
            for f in fields(self)
            if f.name not in ("days", "reference_day")
        )


@dataclass(frozen=True)
class Immunity:
    """What doses do against infection.

    Attributes:
        kind: "leaky" lowers everybody's hazard; "all-or-nothing" protects a share of people fully and the others not at all.
        efficacy: prior of the effect of each number of doses from one on, a share; one parameter for each.
        half_life: prior of the days in which the efficacy halves after the last dose; None for no waning.
        against_severe: prior of the further fall of severity of an infection in the vaccinated, a share; None for none.

    Examples:
        >>> import epi
        >>> epi.Immunity(epi.LogitNormal(3.0, 0.5), kind="all-or-nothing").kind
        'all-or-nothing'
    """

    efficacy: Prior
    kind: Literal["leaky", "all-or-nothing"] = "leaky"
    half_life: Prior | None = None
    against_severe: Prior | None = None
    classes: int = 10

    def __post_init__(self) -> None:
        if self.kind not in ("leaky", "all-or-nothing"):
            raise StudyError(f"Immunity kind is {self.kind!r}; choose 'leaky' or 'all-or-nothing'.")


@dataclass(frozen=True)
class NaturalHistory:
    """A plain SEIR disease: a latent and an infectious period as delay distributions.

    Attributes:
        latent: days from infection to infectious.
        infectious: days infectious.
        days: days after which nobody is infectious; None keeps 99.5 % of infectiousness.
        susceptibility: prior of the susceptibility of an age band over the others; None for all alike.
        immunity: what doses do; None where nobody is vaccinated.

    Examples:
        >>> import epi
        >>> measles = epi.NaturalHistory(latent=epi.Gamma(10.0, 2.0), infectious=epi.Gamma(8.0, 2.0))
        >>> measles.latent.mean
        10.0
    """

    latent: Gamma = field(default=Gamma(2.5, 1.2))
    infectious: Gamma = field(default=Gamma(5.0, 2.0))
    days: int | None = None
    susceptibility: Prior | None = None
    immunity: Immunity | None = None

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Efficacies and susceptibility by age, where they are asked for."""
        out: list[Parameter] = []
        if self.immunity is not None:
            doses = study.dose_states
            if len(doses) < 2:
                raise StudyError(
                    "NaturalHistory has an immunity, but the study has no Vaccination; add one, or leave immunity out."
                )
            out += [Parameter(f"efficacy_{name}", self.immunity.efficacy) for name in doses[1:]]
            if self.immunity.half_life is not None:
                out.append(Parameter("efficacy_half_life", self.immunity.half_life))
            if self.immunity.against_severe is not None:
                out.append(Parameter("efficacy_severe", self.immunity.against_severe, observation=True))
        if self.susceptibility is not None:
            out.append(Parameter("age_susceptibility", self.susceptibility, study.ages.names, "age"))
        return tuple(out)
