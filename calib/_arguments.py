"""Arguments of `calibrate`, read and refused before anything is simulated."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from calib._space import ParameterSpace

RESERVED = ("chain", "draw", "sample")  # axes of the files that draws are written to


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """A whole number from Python, numpy or torch.

    Raises:
        TypeError: it is a bool, a float or no number.
        ValueError: it is smaller than `least`.
    """
    plain: Any = value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
    kind = type(plain).__name__
    if kind in ("bool", "bool_", "float", "float16", "float32", "float64"):
        number = float(plain)
        whole = math.isfinite(number) and number.is_integer() and "bool" not in kind
        hint = f"write {int(number)}" if whole else "pass a whole number"
        raise TypeError(f"{name}={value!r} was given, expected an integer: {hint}.")
    try:
        found = operator.index(plain)
    except TypeError:
        raise TypeError(f"{name} is a {type(value).__name__}, expected an integer: pass a whole number.") from None
    if least is not None and found < least:
        raise ValueError(f"{name}={found} was given, expected at least {least}: pass a larger number.")
    return int(found)


def positive(name: str, value: Any) -> float:
    """A finite number above 0.

    Raises:
        TypeError: it is no number.
        ValueError: it is not finite or not above 0.
    """
    try:
        if isinstance(value, bool | str):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is a {type(value).__name__}, expected a number above 0.") from None
    if not (math.isfinite(found) and found > 0):
        raise ValueError(f"{name}={found} was given, expected a finite number above 0.")
    return found


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """A word from a list.

    Raises:
        ValueError: it is not in the list; the nearest word is named.
    """
    if isinstance(value, str) and value in choices:
        return value
    near = difflib.get_close_matches(str(value).lower(), choices, 1)
    hint = f"did you mean {near[0]!r}? Choose" if near else "choose"
    raise ValueError(f"no {name} is called {value!r}: {hint} from {', '.join(choices)}.")


def check_names(space: ParameterSpace) -> None:
    """Refuse names that no file of draws can hold.

    Raises:
        ValueError: a name is empty, holds a slash or a control character, or is that of an axis.
    """
    for p in space.parameters:
        name = p.name
        fine = isinstance(name, str) and name.strip() == name != "" and "/" not in name and name.isprintable()
        if not fine or name in RESERVED:
            raise ValueError(
                f"a parameter is called {name!r}, which a file of draws cannot hold: use printable text without slashes, "
                f"without spaces at its ends, and none of {', '.join(RESERVED)}."
            )
