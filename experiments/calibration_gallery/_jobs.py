"""Runs of the gallery by name, as processes of a pool import them."""

from __future__ import annotations

from typing import Any

import torch

from experiments.calibration_gallery._registry import PROBLEMS
from experiments.calibration_gallery._run import run


def run_named(job: tuple[str, str, int]) -> dict[str, Any]:
    """The row of a problem, a method and a seed."""
    name, method, seed = job
    return run(PROBLEMS[name], method, seed)


def threads_of_one() -> None:
    """Small problems lose more to several threads than they gain."""
    torch.set_num_threads(1)
