"""The test epidemics, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from experiments.gradient_audit.worlds._groups import MEMBERS, REACH, SEEDS, alone, reed_frost_groups
from experiments.gradient_audit.worlds._households import households
from experiments.gradient_audit.worlds._new_zealand import LEVELS, country, sample
from experiments.gradient_audit.worlds._seven import seven
from experiments.gradient_audit.worlds._towns import measles, seeded_district
from experiments.gradient_audit.worlds._world import World as World

__all__ = ["DEFAULT", "WORLDS", "World", "chosen", "sample"]

SAMPLE_AGENTS = 20_000

WORLDS: dict[str, Callable[[], World]] = {
    "alone": alone,
    **{
        f"reed-frost-n{n}-reach{reach:g}-seed{seed:g}": partial(reed_frost_groups, n, reach, seed)
        for seed in SEEDS
        for n in MEMBERS
        for reach in REACH
    },
    "households": households,
    "seven": partial(seven, reinfection=False),
    "seven-reinfection": partial(seven, reinfection=True),
    "measles": measles,
    "seeded-district": seeded_district,
    **{f"new-zealand-{percent}": partial(sample, percent, SAMPLE_AGENTS) for percent in LEVELS},
    "country": country,
}
"""Functions that make each world; a population is built when its world is asked for."""

DEFAULT = tuple(name for name in WORLDS if name != "country")
"""All but the whole country, which asks for a GPU."""


def chosen(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the worlds that are, or begin with, one of `names`, in the order of `WORLDS`.

    Raises:
        ValueError: a name that no world begins with.
    """
    for name in names:
        if not any(world.startswith(name) for world in WORLDS):
            raise ValueError(
                f"Found --worlds {name}, expected a world or the beginning of its name; choose from {', '.join(_kinds())}."
            )
    parts = tuple(name for name in names if name not in WORLDS)
    return tuple(world for world in WORLDS if world in names or (parts and world.startswith(parts)))


def _kinds() -> list[str]:
    return ["reed-frost", *(name for name in WORLDS if not name.startswith("reed-frost"))]
