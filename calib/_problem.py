"""What a fit needs to know of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from calib._space import ParameterSpace

Gradient = Literal["reverse", "forward", "score"]
GRADIENTS: tuple[Gradient, ...] = ("reverse", "forward", "score")


@dataclass(frozen=True)
class Problem:
    """A log likelihood on z, whose prior is N(0, I).

    Attributes:
        dim: dimension D of z.
        log_likelihood: `(z [particle, D], seed, gradient) -> [particle]`. Row p must depend on row p of z
            alone. The result
            is differentiable with respect to z by the path named (`"reverse"`, `"forward"`); for `"score"`
            its graph is not used. All randomness comes from the seed: the same arguments give the same
            numbers.
        names: names of the coordinates of z, for messages; `z[0]`, ... if empty.
        to_values: `z [*batch, D]` to the parameters in their own units `[*batch, D]`, for messages.
        fingerprint: anything that tells this problem from another (a hash of the data, the scale); a
            checkpoint of a
            different one is refused.
    """

    dim: int
    log_likelihood: Callable[[Tensor, int, Gradient], Tensor]
    names: tuple[str, ...] = ()
    to_values: Callable[[Tensor], Tensor] | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.dim < 1 or (self.names and len(self.names) != self.dim):
            raise ValueError(
                f"a problem of dimension {self.dim} was given {len(self.names)} names: expected a positive "
                "dimension and one "
                "name for each coordinate, or none"
            )

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """Names of the D coordinates."""
        return self.names or tuple(f"z[{i}]" for i in range(self.dim))

    @staticmethod
    def from_space(
        space: ParameterSpace,
        log_likelihood: Callable[[Mapping[str, Tensor], int, Gradient], Tensor],
        *,
        fingerprint: str = "",
    ) -> Problem:
        """A problem from a likelihood of named parameters.

        Args:
            space: the parameters and their priors.
            log_likelihood: `(theta {name: [particle, *event]}, seed, gradient) -> [particle]`.
            fingerprint: see the class.

        Returns:
            The problem on z.
        """
        return Problem(
            dim=space.dim,
            log_likelihood=lambda z, seed, gradient: log_likelihood(space.to_theta(z), seed, gradient),
            names=space.names,
            to_values=lambda z: space.flatten(space.to_theta(z)),
            fingerprint=fingerprint,
        )
