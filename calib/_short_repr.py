"""Results on one screen: arrays and modules by their shape or kind, a calibration as its verdict and a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from calib._calibration import Calibration

ROWS = 12  # parameters that are printed
DRAWS = 1000


def short_repr(self: Any) -> str:
    """`Name(field=value, ...)` of a dataclass, for `__repr__`: arrays by shape, modules and functions by name."""
    parts = [f"{f.name}={_short(getattr(self, f.name))}" for f in dataclasses.fields(self) if f.repr]
    return f"{type(self).__name__}({', '.join(parts)})"


def _short(value: Any) -> str:
    if isinstance(value, torch.Tensor | np.ndarray):
        if value.ndim == 0:
            return f"{float(value):.6g}"
        return f"{type(value).__name__}{list(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple) and any(
        isinstance(v, torch.Tensor | np.ndarray | Mapping) or callable(v) for v in value
    ):
        return "[" + ", ".join(_short(v) for v in value) + "]"
    if isinstance(value, torch.nn.Module):
        return type(value).__name__
    if callable(value) and not dataclasses.is_dataclass(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)


def one_line(found: Calibration) -> str:
    """A calibration in a list of others."""
    report = found.report
    state = report["verdict"]["state"] if "verdict" in report else "not judged"
    return (
        f"Calibration({report.get('method', 'unknown method')}, {found.space.dim} parameter{'s' if found.space.dim != 1 else ''}, "
        f"{report.get('simulations', 0):,} simulations, {state})"
    )


def one_screen(found: Calibration) -> str:
    """The verdict, the parameters with mean, sd and 90 % interval, what tells whether to believe them, and what to do next."""
    report, verdict, names = found.report, found.verdict, found.space.names
    lines = [f"Calibration by {report['method']}, {report['simulations']:,} simulations. Verdict: {verdict.state}.", ""]
    try:
        table = found.summary(DRAWS)
    except ValueError as error:
        lines.append(str(error))
    else:
        shown = table[["mean", "sd", "5 %", "95 %"]].copy()
        if found.chains is not None:
            shown["R-hat"], shown["ESS"] = found.chains.r_hat.numpy(), found.chains.effective.numpy()
        if "moved" in table:
            shown["moved"] = table["moved"].map({True: "yes", False: "no"})
        if table["unit"].any():
            shown["unit"] = table["unit"]
        formats = {"R-hat": "{:.3f}".format, "ESS": "{:,.0f}".format}
        lines.append(shown.head(ROWS).to_string(formatters=formats, float_format="{:.4g}".format, index_names=False))
        if len(names) > ROWS:
            lines.append(f"... and {len(names) - ROWS} more: summary() has all.")
        if why := table.attrs.get("moved"):
            lines.append(why)
    lines += ["", *verdict.reasons, f"Next: {verdict.advice}"]
    return "\n".join(lines)
