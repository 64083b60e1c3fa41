"""How much the method spends, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from calib._config import FitConfig
from calib._stopping import StopRule


@dataclass(frozen=True)
class Settings:
    """Settings of a calibration.

    Attributes:
        seed: of everything random.
        warm_steps: Gauss-Newton steps. The first 40 % go to the mode, with all runs at one point; the others are made around it.
        warm_runs: runs with Jacobian in each of the first steps; the others make twice as many.
        level_runs: value runs of the warm start in all, where these are of another fidelity than its Jacobians.
        rounds: how often runs are made at draws of the emulator's posterior.
        round_runs: value runs of a round.
        round_jacobians: runs of a round with Jacobian, at some of the same draws.
        jacobian_batch: of them made at once.
        refinements: most further rounds of runs where chains go beyond all runs.
        chain_draws: draws of each of the 64 chains.
        held_out_runs: fresh runs at posterior draws that the emulator is compared with.
        flow: family of the flow that gives the chains their coordinates; it must have a full-rank layer.
        fit: of that flow.
        threads: of tensor operations while the emulator is fitted; None for `allowed_threads()`. Another number gives other last bits, and
            so other draws of the same posterior.
    """

    seed: int = 0
    warm_steps: int = 9
    warm_runs: int = 4
    level_runs: int = 24
    rounds: int = 3
    round_runs: int = 50
    round_jacobians: int = 12
    jacobian_batch: int = 8
    refinements: int = 3
    chain_draws: int = 150
    held_out_runs: int = 32
    flow: str = "gaussian"
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(particles=64, warmup_steps=10, stop=StopRule(min_steps=300, min_window=150))
    )
    threads: int | None = None

    @property
    def first_steps(self) -> int:
        """Steps of the warm start that go to the mode."""
        return math.ceil(0.4 * self.warm_steps)
