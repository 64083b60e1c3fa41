"""Where people meet: households, schools, workplaces, the community, and venues of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from epi.errors import StudyError
from epi.study.parameter import Parameter
from epi.study.priors import Prior

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = ["Community", "Households", "Schools", "Venue", "Workplaces"]

Open = Literal["school", "weekdays", "always"]


@dataclass(frozen=True)
class Households:
    """Homes, always open.

    Attributes:
        transmission: prior of the hazard that one infectious member passes on to one other over an infection.
        exponent: the hazard in a household of n scales as `(n - 1) ** -exponent`: 0 density, 1 frequency dependence.
        table: file of household types: one column of members for each age band, and `households`.
        grown: youngest age of somebody who can keep a household.

    Examples:
        >>> import epi
        >>> epi.Households(epi.LogNormal(0.5, 0.3)).layer
        'household'
    """

    transmission: Prior
    exponent: float = 0.8
    grown: int = 10
    table: str = "households.csv"
    layer = "household"

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The transmission rate."""
        return (Parameter("transmission_household", self.transmission),)


@dataclass(frozen=True)
class Schools:
    """Schools and early-childhood services by type; teachers are taken from those who work.

    Attributes:
        transmission: prior of the infections a reference case would cause in its group if all were susceptible and every day open.
        pupils_per_teacher: `{type: pupils}`; the types that the table may name.
        early: type for children below `first_age`, whose places are given per child; None if there is none.
        first_age: age at which school begins.
        compulsory_to: last age at which everyone goes.
        last_age: last age of any pupil.
        largest_group: schools with more people are cut into equal contact groups no larger than this.
        table: file with the columns `<axis>, type, age_min, age_max, size, schools`.
        open: on which days.

    Examples:
        >>> import epi
        >>> epi.Schools(epi.LogNormal(0.5, 0.4), pupils_per_teacher={"school": 15.0}).table
        'schools.csv'
    """

    transmission: Prior
    pupils_per_teacher: Mapping[str, float]
    early: str | None = None
    first_age: int = 5
    compulsory_to: int = 15
    last_age: int = 17
    largest_group: int = 100
    table: str = "schools.csv"
    open: Open = "school"
    layer = "school"

    @property
    def types(self) -> tuple[str, ...]:
        """Types of school, in alphabetical order."""
        return tuple(sorted(self.pupils_per_teacher))

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The transmission rate."""
        return (Parameter("transmission_school", self.transmission),)


@dataclass(frozen=True)
class Workplaces:
    """Workplaces; sizes follow an offset power law `P(size >= s) = ((1 + offset) / (s + offset)) ** exponent`.

    Attributes:
        transmission: as for schools.
        employment: share in work by age band; levels do not matter, they are scaled to the employees of each region.
        first_age: age from which people work; `employment` of the band it lies in holds for those at least this old.
        most_employed: largest share in work of any cell.
        offset: of the power law.
        exponent: of the power law.
        largest: largest workplace.
        largest_group: larger workplaces are cut into contact groups no larger than this.
        staff_from: youngest age of those who take posts in other venues, such as teachers.
        table: file with the columns `<axis>, employees`.
        open: on which days.

    Examples:
        >>> import epi
        >>> epi.Workplaces(epi.LogNormal(0.4, 0.4), employment=(0.2, 0.75, 0.1)).employment
        (0.2, 0.75, 0.1)
    """

    transmission: Prior
    employment: tuple[float, ...]
    first_age: int = 16
    most_employed: float = 0.97
    offset: float = 2.8
    exponent: float = 1.28
    largest: int = 1000
    largest_group: int = 100
    staff_from: int = 20
    table: str = "work.csv"
    open: Open = "weekdays"
    layer = "work"

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The transmission rate."""
        return (Parameter("transmission_work", self.transmission),)


@dataclass(frozen=True)
class Venue:
    """A venue of the user's own: people of some ages who meet in groups within a region, such as a care home with residents and staff.

    Attributes:
        name: of the layer; its rate is the parameter `transmission_<name>`.
        transmission: prior, as for schools.
        share: share of people of each age band who attend, `{age band: share}`; bands that are left out do not.
        sizes: sizes of the groups, staff not counted, each as often as it occurs.
        members_per_post: members for each employee that a group needs; None for no staff. Staff are taken from those who work, so that
            `Workplaces` must come after this part.
        open: on which days.

    Examples:
        >>> from epi.study.priors import LogNormal
        >>> Venue("care_home", LogNormal(0.8, 0.5), {"70+": 0.05}, sizes=(20, 40, 60), members_per_post=3).layer
        'care_home'
    """

    name: str
    transmission: Prior
    share: Mapping[str, float]
    sizes: tuple[int, ...]
    members_per_post: float | None = None
    open: Open = "always"

    def __post_init__(self) -> None:
        for band, share in self.share.items():
            if not 0 <= share <= 1:
                raise StudyError(
                    f"Venue {self.name!r}: {share:g} of {band} attend, expected a share from 0 to 1; correct it."
                )
        if not any(share > 0 for share in self.share.values()):
            raise StudyError(
                f"Venue {self.name!r} is attended by nobody; give an age band a share above 0, or leave the venue out."
            )
        if not self.sizes or min(self.sizes) < 1:
            raise StudyError(f"Venue {self.name!r} has no group sizes of 1 or more; give sizes of its groups.")

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return self.name

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The transmission rate."""
        unknown = [band for band in self.share if band not in study.ages.names]
        if unknown:
            raise StudyError(
                f"Venue {self.name!r} names the age band {unknown[0]!r}; choose among {', '.join(study.ages.names)}."
            )
        later = study.venues[study.venues.index(self) :]
        if self.members_per_post is not None and not any(isinstance(v, Workplaces) for v in later):
            raise StudyError(
                f"Venue {self.name!r} takes its staff from those who work; put Workplaces after it, or leave members_per_post out."
            )
        return (Parameter(f"transmission_{self.name}", self.transmission),)


@dataclass(frozen=True)
class Community:
    """Contacts outside home, school and work, by age and between regions.

    Attributes:
        transmission: as for schools.
        assortativity: prior of the share of contacts kept within the own age band. Without it, give `contacts`.
        coupling: prior of the share of contacts in other regions, spread by gravity; None for none.
        contact: prior of the contacts of an age band over the mean; None for all alike.
        contacts: file with a contact matrix: one row per age band, column `age_band` and one column for each band, contacts a day; made
            reciprocal by the people of each band.
        gravity_length: km over which contacts between regions fall by 1/e.
        open: on which days.

    Examples:
        >>> import epi
        >>> epi.Community(epi.LogNormal(1.0, 0.3), assortativity=epi.LogitNormal(-0.5, 0.5)).layer
        'community'
    """

    transmission: Prior
    assortativity: Prior | None = None
    coupling: Prior | None = None
    contact: Prior | None = None
    contacts: str | None = None
    gravity_length: float = 150.0
    open: Open = "always"
    layer = "community"

    def __post_init__(self) -> None:
        if (self.assortativity is None) == (self.contacts is None):
            raise StudyError("Community takes either assortativity or a table of contacts; give one of them.")

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Transmission rate, assortativity, mixing between regions, and contacts by age."""
        out = [Parameter("transmission_community", self.transmission)]
        if self.assortativity is not None:
            out.append(Parameter("assortativity", self.assortativity))
        if self.coupling is not None:
            if len(study.region) < 2:
                raise StudyError(
                    f"Community has a coupling, but the study has one {study.region.axis}; leave coupling out."
                )
            out.append(Parameter("coupling", self.coupling))
        if self.contact is not None:
            out.append(Parameter("age_contact", self.contact, study.ages.names, "age"))
        return tuple(out)


VENUES = (Schools, Workplaces, Venue)
"""Parts that are layers of the population besides households and community."""
