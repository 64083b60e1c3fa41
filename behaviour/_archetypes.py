"""Kinds of people by a few attributes, and which kind each agent is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Archetypes", "BehaviourError"]


class BehaviourError(ValueError):
    """A question, table or attribute that cannot be used; its text says what was found and what to do."""


@dataclass(frozen=True)
class Archetypes:
    """All combinations of some attributes.

    The rule: an agent is of the archetype that has its level of every attribute. Archetypes are numbered with the last attribute running
    fastest, so the number is `((code_1 * n_2 + code_2) * n_3 + code_3) ...`.

    Attributes:
        attributes: `{name: levels}`, such as `{"county": ("North", "South"), "age": ("0-19", "20+")}`.

    Examples:
        >>> kinds = Archetypes({"county": ("North", "South"), "age": ("0-19", "20+")})
        >>> kinds.labels
        ('North, 0-19', 'North, 20+', 'South, 0-19', 'South, 20+')
        >>> kinds.assign({"county": [1, 0], "age": [0, 1]}).tolist()
        [2, 1]
    """

    attributes: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if not self.attributes:
            raise BehaviourError("Archetypes have no attribute; give at least one, such as the age band.")
        for name, levels in self.attributes.items():
            if not levels or len(set(levels)) != len(levels):
                raise BehaviourError(
                    f"Attribute {name!r} has the levels {levels}, expected one or more, each once; correct them."
                )

    def __len__(self) -> int:
        return int(np.prod([len(levels) for levels in self.attributes.values()]))

    @cached_property
    def each(self) -> tuple[dict[str, str], ...]:
        """Levels by attribute of every archetype, in order."""
        return tuple(dict(zip(self.attributes, levels, strict=True)) for levels in product(*self.attributes.values()))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """One name for every archetype."""
        return tuple(", ".join(levels.values()) for levels in self.each)

    def assign(self, codes: Mapping[str, ArrayLike]) -> NDArray[np.int32]:
        """`[N]` archetype of every agent, from `{attribute: [N] number of its level}`.

        Raises:
            BehaviourError: an attribute is missing, a code is out of range, or lengths differ.
        """
        missing = [name for name in self.attributes if name not in codes]
        if missing:
            raise BehaviourError(
                f"The agents have no attribute {missing[0]!r}; give the number of its level for each agent."
            )
        out: NDArray[np.int32] | None = None
        for name, levels in self.attributes.items():
            code = np.asarray(codes[name])
            if code.ndim != 1 or (out is not None and len(code) != len(out)):
                raise BehaviourError(
                    f"Attribute {name!r} has shape {code.shape}, expected one number for each agent; correct it."
                )
            if len(code) and not (int(code.min()) >= 0 and int(code.max()) < len(levels)):
                raise BehaviourError(
                    f"Attribute {name!r} has codes from {code.min()} to {code.max()}, expected 0 to {len(levels) - 1}; correct them."
                )
            if out is None:
                out = code.astype(np.int32)
            else:
                out *= np.int32(len(levels))
                out += code.astype(np.int32, copy=False)
        assert out is not None
        return out
