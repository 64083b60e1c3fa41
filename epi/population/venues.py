"""Who goes to which school and workplace: the two venue layers of the New Zealand population."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epi.data.load import AGE_BANDS, SCHOOL_TYPES, Figures
from sim._synthesis import assign_states, group_sizes, shuffled_order

__all__ = [
    "LARGEST_GROUP",
    "Members",
    "Venues",
    "employment",
    "enrolment",
    "schools",
    "split",
    "workplace_sizes",
    "workplaces",
]

LARGEST_GROUP = 100
"""A school or workplace with more people is cut into equal contact groups no larger than this."""

FIRST_SCHOOL_AGE, COMPULSORY_TO, LAST_SCHOOL_AGE = 5, 15, 17
# Children to a teacher. Schools: about the national pupil-teacher ratios. Early childhood: between the regulated 1 to
# 5 (under two) and 1 to 10 (two and over), Education (Early Childhood Services) Regulations 2008, schedule 2.
PUPILS_PER_TEACHER = {"early_childhood": 7.0, "primary": 16.0, "secondary": 14.0, "composite": 14.0}

# Share in work by age band, 16-19 for the second: the shape of the Household Labour Force Survey 2021, rounded. Levels do not
# matter: they are scaled to the employees of each district.
EMPLOYMENT_SHAPE = np.array([0.0, 0.45, 0.80, 0.85, 0.87, 0.85, 0.60, 0.0])
FIRST_WORKING_AGE = 16
MOST_EMPLOYED = 0.97

# Offset power law of workplace sizes, P(size >= s) = ((1 + q) / (s + q)) ** a, cut at 1,000 (the form of Ferguson et
# al. 2005, Nature 437:209, supplement). q and a fitted to enterprises with employees: 65.7 % have 1-5, 24.9 % 6-19,
# 6.2 % 20-49, 3.2 % 50 or more (Stats NZ Business Demography, February 2014, in MBIE 2015, "Small Businesses in New
# Zealand"). Its mean, 10.5, is near the 10.8 employees per business location with employees of the same release.
WORK_OFFSET, WORK_EXPONENT, WORK_LARGEST = 2.8, 1.28, 1000


@dataclass(frozen=True)
class Members:
    """People before they are given venues: `[N]` columns of district, age band and single year of age."""

    district: NDArray[np.int8]
    band: NDArray[np.int8]
    year: NDArray[np.int8]


@dataclass(frozen=True)
class Venues:
    """One layer: `[N]` group of each agent (-1 none) and `[M]` sizes of the groups."""

    of_agent: NDArray[np.int32]
    size: NDArray[np.int64]

    @property
    def weight(self) -> NDArray[np.float64]:
        """`[M]` contact weight 1/(n-1): contacts are shared among the others of the group; 0 for a group of one."""
        return np.where(self.size > 1, 1.0 / np.maximum(self.size - 1, 1), 0.0)


def schools(figures: Figures, members: Members, rng: np.random.Generator) -> tuple[Venues, NDArray[np.int64]]:
    """Give pupils a contact group in a school or early-childhood service of their district.

    At each year of age a pupil's type of school follows the places of the district's schools at that age.
    Pupils of a district and type are then ordered by age and cut into groups of real size, so that neighbouring
    ages share a group.

    Args:
        figures: the figures.
        members: the people.
        rng: source of randomness.

    Returns:
        The layer (pupils only), and `[M]` teachers that each group needs.
    """
    child = np.flatnonzero(members.year <= LAST_SCHOOL_AGE)
    ages = LAST_SCHOOL_AGE + 1
    cell = members.district[child].astype(np.int16) * ages + members.year[child]
    fractions = enrolment(figures)
    districts, kinds = len(fractions), len(SCHOOL_TYPES)
    kind = assign_states(cell, fractions.reshape(-1, kinds + 1), rng)
    pupil, kind, cell = child[kind < kinds], kind[kind < kinds], cell[kind < kinds]
    block = (cell // ages) * kinds + kind
    order = shuffled_order((block * ages + cell % ages).astype(np.int16), rng)
    sizes, teachers = [], []
    for b, count in enumerate(np.bincount(block, minlength=districts * kinds)):
        name = SCHOOL_TYPES[b % kinds]
        if count:
            size = group_sizes(int(count), _school_groups(figures, b // kinds, name), rng)
            sizes.append(size)
            teachers.append(np.maximum(np.rint(size / PUPILS_PER_TEACHER[name]), 1).astype(np.int64))
    return _layer(len(members.year), pupil[order], sizes), _join(teachers)


def enrolment(figures: Figures) -> NDArray[np.float64]:
    """`[district, year of age 0..17, type of school, none last]` fractions of children.

    Early childhood: places per child under 5. Ages 5-15: everyone. Ages 16-17: the pupils that the national roll leaves.
    """
    people = figures.population
    places = np.zeros((len(people), LAST_SCHOOL_AGE + 1, len(SCHOOL_TYPES)))
    row_district = figures.districts.index.get_indexer(figures.schools["district"])
    for d, row in zip(row_district, figures.schools.itertuples(), strict=True):
        early = row.type == "early_childhood"
        low, high = (0, FIRST_SCHOOL_AGE - 1) if early else (row.age_min, min(row.age_max, LAST_SCHOOL_AGE))
        if high >= low:
            each = row.size * row.schools / (high - low + 1)
            places[d, low : high + 1, SCHOOL_TYPES.index(row.type)] += each
    early_places = places[:, :FIRST_SCHOOL_AGE].sum((1, 2))
    # Bands are ten years wide and a single year is a tenth of its band.
    by_year = np.repeat(people[:, :2] / 10.0, 10, axis=1)[:, : LAST_SCHOOL_AGE + 1]
    roll = places[:, FIRST_SCHOOL_AGE:].sum()
    stay = roll - by_year[:, FIRST_SCHOOL_AGE : COMPULSORY_TO + 1].sum()
    enrolled = np.ones_like(by_year)
    enrolled[:, :FIRST_SCHOOL_AGE] = (early_places / by_year[:, :FIRST_SCHOOL_AGE].sum(1))[:, None]
    enrolled[:, COMPULSORY_TO + 1 :] = stay / by_year[:, COMPULSORY_TO + 1 :].sum()
    enrolled = np.clip(enrolled, 0.0, 1.0)
    total = places.sum(2, keepdims=True)
    national = places.sum(0) / np.maximum(places.sum((0, 2)), 1e-300)[:, None]
    kinds = np.where(total > 0, places / np.maximum(total, 1e-300), national[None])
    enrolled = np.where(kinds.sum(2) > 0, enrolled, 0.0)
    return np.concatenate([kinds * enrolled[..., None], 1.0 - enrolled[..., None]], axis=2)


def _school_groups(figures: Figures, district: int, kind: str) -> NDArray[np.int64]:
    """Sizes of the contact groups in a district's schools of a type; of all districts if it has none."""
    table = figures.schools[figures.schools["type"] == kind]
    here = table[table["district"] == figures.districts.index[district]]
    table = here if len(here) else table
    return split(np.repeat(table["size"].to_numpy(), table["schools"].to_numpy()))


def split(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cut every size above `LARGEST_GROUP` into the fewest near-equal parts."""
    parts = -(-sizes // LARGEST_GROUP)
    whole, extra = np.divmod(np.repeat(sizes, parts), np.repeat(parts, parts))
    rank = np.arange(len(whole)) - np.repeat(np.cumsum(parts) - parts, parts)
    out: NDArray[np.int64] = whole + (rank < extra)
    return out


def workplace_sizes(count: int = 20_000) -> NDArray[np.int64]:
    """`[count]` workplace sizes at equally spaced quantiles of the truncated offset power law."""
    size = np.arange(1, WORK_LARGEST + 1)
    tail = ((1 + WORK_OFFSET) / (np.append(size, WORK_LARGEST + 1) + WORK_OFFSET)) ** WORK_EXPONENT
    below = (1.0 - tail[1:]) / (1.0 - tail[-1])
    quantile = (np.arange(count) + 0.5) / count
    return size[np.searchsorted(below, quantile)].astype(np.int64)


def workplaces(
    figures: Figures,
    members: Members,
    school: Venues,
    teachers: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Venues, Venues]:
    """Give employed adults a workplace in their district, teachers first.

    Args:
        figures: the figures.
        members: the people.
        school: the school layer with pupils only.
        teachers: `[M]` teachers that each school group needs.
        rng: source of randomness.

    Returns:
        The school layer with its teachers, and the workplace layer.
    """
    bands, districts = len(AGE_BANDS), len(figures.population)
    adult = np.flatnonzero((members.year >= FIRST_WORKING_AGE) & (members.band < bands - 1))
    district = members.district[adult]
    rate = employment(figures).reshape(-1)
    cell = district.astype(np.int16) * bands + members.band[adult]
    employed = adult[assign_states(cell, np.stack([rate, 1.0 - rate], 1), rng) == 0]
    employed = employed[shuffled_order(members.district[employed], rng)]
    bounds = np.searchsorted(members.district[employed], np.arange(districts + 1))

    school_of, school_size = school.of_agent.copy(), school.size.copy()
    group_district = _district_of_group(school, members)
    catalogue = split(workplace_sizes())
    order, sizes = [], []
    for d in range(districts):
        here = employed[bounds[d] : bounds[d + 1]]
        post = np.repeat(np.flatnonzero(group_district == d), teachers[group_district == d])
        teach = np.flatnonzero(members.band[here] >= 2)[: len(post)]
        post = post[: len(teach)]
        school_of[here[teach]] = post
        school_size += np.bincount(post, minlength=len(school_size))
        others = np.delete(here, teach)  # pupils of 16 and 17 may have a job too
        order.append(others)
        sizes.append(group_sizes(len(others), catalogue, rng))
    return Venues(school_of, school_size), _layer(len(members.year), np.concatenate(order), sizes)


def employment(figures: Figures) -> NDArray[np.float64]:
    """`[district, band]` share of adults (16-19 in the second band) who are employees, to each district's total."""
    people = figures.population.astype(np.float64).copy()
    people[:, 1] *= (20 - FIRST_WORKING_AGE) / 10.0
    wanted = figures.work["employees"].to_numpy(np.float64)
    factor = wanted / (people @ EMPLOYMENT_SHAPE)
    return np.minimum(EMPLOYMENT_SHAPE * factor[:, None], MOST_EMPLOYED)


def _district_of_group(school: Venues, members: Members) -> NDArray[np.int8]:
    """District of each school group, from its pupils."""
    out = np.zeros(len(school.size), np.int8)
    pupil = np.flatnonzero(school.of_agent >= 0)
    out[school.of_agent[pupil]] = members.district[pupil]
    return out


def _layer(agents: int, order: NDArray[np.int64], sizes: list[NDArray[np.int64]]) -> Venues:
    """Cut people, in order, into groups of the given sizes."""
    size = _join(sizes)
    of_agent = np.full(agents, -1, np.int32)
    of_agent[order] = np.repeat(np.arange(len(size), dtype=np.int32), size)
    return Venues(of_agent, size)


def _join(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
