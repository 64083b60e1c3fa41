"""An emulator and shared errors as tensors: both are public, and each site gets the rows of its own outputs."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from calib.multifidelity._emulator import Emulator, FeatureMap, Link
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
    """Inverse of `to_tensors`."""

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


def rows_of(errors: SharedError, which: Tensor) -> SharedError:
    """The shared errors of some outputs, an index into M."""
    return SharedError(errors.loading[which], errors.rest[which], errors.share[which], errors.link)


def _tensor(x: Tensor | float) -> Tensor:
    return x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64)
