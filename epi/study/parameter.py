"""A named parameter of a study: prior, and labels of its entries where it is a vector."""

from __future__ import annotations

from dataclasses import dataclass

from epi.errors import StudyError
from epi.study.priors import Prior

__all__ = ["Parameter"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of the study.

    Attributes:
        name: a Python name; the entry of the posterior.
        prior: of each entry, independently.
        labels: one name per entry of a vector; empty for a number.
        axis: name of the axis of the labels.
        observation: whether it moves only what is observed of an epidemic, and not the epidemic.
        sd: name of the parameter that holds the standard deviation of these standardised effects, if one does.

    Examples:
        >>> import epi
        >>> epi.Parameter("cluster_size", epi.LogNormal(2.0, 0.4), observation=True).name
        'cluster_size'
    """

    name: str
    prior: Prior
    labels: tuple[str, ...] = ()
    axis: str = ""
    observation: bool = False
    sd: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise StudyError(f"Parameter {self.name!r} has no usable name; use letters, digits and underscores.")
        if not isinstance(self.prior, Prior):
            raise StudyError(
                f"Parameter {self.name!r} has the prior {self.prior!r}; give one of epi's priors, such as LogNormal."
            )
        if bool(self.labels) != bool(self.axis):
            raise StudyError(
                f"Parameter {self.name!r} has labels or an axis alone; give both, or neither for a number."
            )

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.labels) or 1
