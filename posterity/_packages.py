"""The packages that belong together: found where posterity itself lies, whatever else has their names."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

OWN = ("ode", "behaviour", "sim", "calib", "epi")
ROOT = Path(__file__).resolve().parents[1]


def claim_packages(root: Path = ROOT) -> None:
    """Import our packages from beside this one, so that a `sim.py` in the working folder does not stand in their way.

    Raises:
        ImportError: another project's package of one of these names is loaded, or has overwritten ours.
    """
    for name in OWN:
        module = sys.modules.get(name)
        if module is None:
            spec = PathFinder.find_spec(name, [str(root)])
            if spec is None or spec.loader is None:
                raise ImportError(f"The package {name!r} of posterity is missing in {root}; install posterity again.")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
        if getattr(module, "__project__", None) != "posterity":
            raise ImportError(
                f"The package {name!r} at {getattr(module, '__file__', 'an unknown place')} is not posterity's but another project's of the "
                "same name; install posterity in an environment of its own."
            )
