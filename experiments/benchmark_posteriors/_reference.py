"""Observations and reference posteriors as files, as the sbibm package lays them out."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

HINT = "install the files with `pip install --no-deps sbibm==1.1.0`, or name a folder with --reference"


def reference_folder(given: str | os.PathLike[str] | None) -> Path:
    """Where the files are: the folder given (`<task>/files/num_observation_<i>/`), or the installed sbibm package's.

    The package itself is not imported: it would ask for much that is not needed.

    Raises:
        FileNotFoundError: neither is there.
    """
    if given is not None:
        folder = Path(given)
        for place in (folder, folder / "tasks", folder / "sbibm" / "tasks"):
            if any(place.glob("*/files/num_observation_1")):
                return place
        raise FileNotFoundError(f"{folder} holds no <task>/files/num_observation_1; {HINT}.")
    found = importlib.util.find_spec("sbibm")
    for installed in (found.submodule_search_locations or ()) if found else ():
        return Path(installed) / "tasks"
    raise FileNotFoundError(f"The reference posteriors of sbibm were not found; {HINT}.")


def _numbers(path: Path) -> Tensor:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; {HINT}.")
    return torch.from_numpy(pd.read_csv(path).to_numpy(dtype=float).copy())


def observation(folder: Path, task: str, number: int) -> Tensor:
    """The data of observation `number` (1 to 10), `[K]`."""
    return _numbers(folder / task / "files" / f"num_observation_{number}" / "observation.csv")[0]


def reference_draws(folder: Path, task: str, number: int) -> Tensor:
    """10,000 draws of the posterior given observation `number`, `[S, D]`, in the parameters' own units."""
    return _numbers(folder / task / "files" / f"num_observation_{number}" / "reference_posterior_samples.csv.bz2")
