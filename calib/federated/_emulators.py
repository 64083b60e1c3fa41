"""An emulator and shared errors as tensors: both are public, and each site gets the rows of its own outputs.

A site is asked at `[z, features of z]`, side by side, so that it need not know the feature map: its gradient in both is taken back to z by
the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from calib._slopes import with_back
from calib.multifidelity._emulator import Emulator, FeatureMap, Link, identity
from calib.multifidelity._predictive_variance import PredictiveVariance
from calib.multifidelity._quadratic import QuadraticTerm
from calib.multifidelity._shared_error import SharedError

PLAIN = ("centre", "intercept", "slope", "residual")
TERM = tuple(f.name for f in fields(QuadraticTerm) if f.name not in ("predictive", "curvature"))
VARIANCE = tuple(f.name for f in fields(PredictiveVariance))
ERRORS = ("loading", "rest", "share")


def to_tensors(emulator: Emulator, errors: SharedError | None) -> dict[str, Tensor]:
    """Everything but the feature map, which sites know from the study."""
    out = {f"mean/{name}": getattr(emulator, name) for name in PLAIN}
    if emulator.quadratic is not None:
        term = emulator.quadratic
        out |= {f"term/{name}": getattr(term, name) for name in TERM}
        out["term/curvature"] = torch.tensor(term.curvature, dtype=torch.float64)
        out |= {f"variance/{name}": _tensor(getattr(term.predictive, name)) for name in VARIANCE}
    if errors is not None:
        out |= {f"errors/{name}": getattr(errors, name) for name in ERRORS}
    return out


def from_tensors(
    tensors: dict[str, Tensor], link: Link, feature_map: FeatureMap
) -> tuple[Emulator, SharedError | None]:
    """Inverse of `to_tensors`, with a feature map."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}

    quadratic = None
    if "term/curve" in tensors:
        term, variance = part("term/"), part("variance/")
        numbers = {n: float(variance.pop(n)) for n in ("linear", "quadratic", "factor")}
        predictive = PredictiveVariance(**variance, **numbers)  # type: ignore[arg-type]
        quadratic = QuadraticTerm(predictive=predictive, curvature=float(term.pop("curvature")), **term)
    emulator = Emulator(**part("mean/"), feature_map=feature_map, quadratic=quadratic, link=link)
    errors = part("errors/")
    return emulator, SharedError(**errors, link=link) if errors else None


@dataclass(frozen=True)
class Behind:
    """The feature map of points that carry their features behind the coordinates.

    Attributes:
        dim: number of coordinates D.
    """

    dim: int

    def __call__(self, points: Tensor) -> Tensor:
        """`[*batch, E]` of `[*batch, D + E]`."""
        return points[..., self.dim :]

    def with_back(self, points: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The features and their reverse mode, as `calib._slopes` asks for it."""
        return points[..., self.dim :], lambda by: torch.nn.functional.pad(by, (self.dim, 0))


def with_features(feature_map: FeatureMap, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Points `[P, D]`, with their features behind them unless these are the coordinates, and how gradients there go back to z."""
    if feature_map is identity:
        return z, lambda by: by
    features, back = with_back(feature_map, z)
    dim = z.shape[1]
    return torch.cat([z, features], 1), lambda by: by[:, :dim] + back(by[:, dim:].contiguous())


def rows_of(errors: SharedError, which: Tensor) -> SharedError:
    """The shared errors of some outputs, an index into M."""
    return SharedError(errors.loading[which], errors.rest[which], errors.share[which], errors.link)


def _tensor(x: Tensor | float) -> Tensor:
    return x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64)
