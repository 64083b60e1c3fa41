"""What a run will take before it begins: simulations, seconds and memory by a plain formula, so that a run that cannot fit is refused.

The constants come from runs of this repository's studies on two CPU cores and on one NVIDIA H100; `docs/promises.md` compares them with
measured runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from epi.errors import TooLarge
from epi.inference.settings import Config
from epi.model import parameter_space
from epi.study import Study

__all__ = ["Foretold", "available_gib", "foretell", "refuse_too_large"]

GIB = 2.0**30
LIBRARIES_GIB = 1.25
"""Of torch, the plots, and kernels while they are compiled."""
CUDA_GIB, CUDA_RAM_GIB = 0.75, 1.0
"""Of a CUDA context and its kernels on the GPU, and in the process."""
AGENT = 150.0
"""Bytes of an agent of a population, its building and its simulation on the CPU included."""
AGENT_ON_GPU, PARTICLE_ON_GPU = 60.0, 14.0
"""Bytes of an agent on the GPU, and of an agent in each simulation at once."""
COPIES, COPIES_ON_GPU = 12, 50
"""Tensors as large as the derivatives of all days and groups by all parameters that are held at once; more on a GPU, whose allocator keeps
what it had."""
VALUE, SLOPE, SLOPE_FIXED = 10.5e-9, 1.3e-9, 0.77e-6
"""Core-seconds of a simulation by agent and day; of its derivatives by agent, day and parameter; by group, day and parameter."""
GPU_VALUE, GPU_SLOPE = 0.012e-9, 27e-9
"""Seconds of the same on a GPU: by agent and day; of derivatives by group, day and parameter."""
CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of a limit of memory, of what is used, and of the cached files among it, which the kernel gives back."""
CERTAIN = 0.65
"""Share of the foretold memory that measured runs took at least."""
CHAINS, LEARNING, REST = 0.35, 0.10, 25.0
"""Seconds by parameter of the last chains (at 150 draws of each) and of a round's emulator; of files, plots and report."""


@dataclass(frozen=True)
class Foretold:
    """What a run is expected to take.

    Attributes:
        simulations: of the epidemic, those with derivatives included.
        seconds: on this machine's cores, each as fast as those of the measurement, kernels compiled before.
        ram_gib: largest memory of the process.
        gpu_gib: largest memory on the GPU; 0 without one.
    """

    simulations: int
    seconds: float
    ram_gib: float
    gpu_gib: float

    def sentence(self, cores: int) -> str:
        """The numbers in words.

        Examples:
            >>> Foretold(520, 640.0, 3.3, 0.0).sentence(2)
            'About 520 simulations, 11 minutes on 2 cores and 3.3 GiB of memory; compiling the kernels adds minutes to a first run.'
        """
        time = f"{self.seconds:.0f} seconds" if self.seconds < 90 else f"{self.seconds / 60:.0f} minutes"
        gpu = f" and {self.gpu_gib:.1f} GiB on the GPU" if self.gpu_gib else ""
        return (
            f"About {self.simulations:,} simulations, {time} on {cores} {'core' if cores == 1 else 'cores'} and {self.ram_gib:.1f} GiB of "
            f"memory{gpu}; compiling the kernels adds minutes to a first run."
        )


def foretell(config: Config, study: Study, people: int, cores: int = 1) -> Foretold:
    """Simulations, seconds and memory of a calibration by its settings; nothing is built.

    Args:
        config: the settings.
        study: gives days, groups and parameters.
        people: of all regions.
        cores: that simulations share.
    """
    c, calendar = config, study.calendar
    whole, fitted = calendar.days_until(calendar.last_week), calendar.days_until(calendar.forecast_from)
    groups, dim, gpu = len(study.region) * len(study.ages), parameter_space(study).dim, c.device == "cuda"
    own, sample = people * c.scale, people * (c.jacobian_scale or c.scale)
    country = people * c.country_scale
    slope = max(sample, people * c.slope_scale) if c.rounds else 0.0
    values = [
        (c.prior_draws, own, whole), (c.level_runs + c.rounds * c.round_runs, country, fitted), (c.noise_runs, own, fitted),
        (c.draws, country, whole),
    ]  # fmt: skip
    slopes = [(c.warm_start * c.warm_particles, sample, fitted), (c.rounds * c.round_jacobians, slope, fitted)]
    if not c.scores_only:
        slopes.append((2 * c.jacobian_draws, sample, whole))
    if c.gradient != "local":
        slopes.append((c.max_steps * c.particles, own, fitted))
    if c.synthetic is not None:
        values.append((1, float(people), whole))
    if gpu:
        work = sum(n * a * days * GPU_VALUE for n, a, days in values)
        work += sum(n * days * groups * dim * GPU_SLOPE for n, _, days in slopes)
    else:
        work = sum(n * a * days * VALUE for n, a, days in values) / cores
        work += sum(n * days * dim * (a * SLOPE + groups * SLOPE_FIXED) for n, a, days in slopes) / cores
    emulated = dim * (LEARNING * c.rounds + CHAINS * c.chain_draws / 150)
    agents = sum({own, sample, country, slope})
    batch = max(c.warm_particles * fitted, 0 if c.scores_only else c.particles * whole)
    derivatives = batch * groups * dim
    ram = LIBRARIES_GIB + agents * AGENT / GIB
    on_gpu = 0.0
    if gpu:
        ram += CUDA_RAM_GIB
        on_gpu = CUDA_GIB + (agents * AGENT_ON_GPU + max(own, country) * c.particles * PARTICLE_ON_GPU) / GIB
        on_gpu += COPIES_ON_GPU * derivatives * 4 / GIB
    else:
        ram += COPIES * derivatives * 8 / GIB
    number = sum(n for n, _, _ in values) + sum(n for n, _, _ in slopes)
    return Foretold(number, work + emulated + REST, ram, on_gpu)


def available_gib(device: str = "cpu") -> tuple[float | None, float | None]:
    """Memory that a process can still take, and that of the GPU, in GiB; None where it cannot be known.

    On Linux the least of what the machine has to give and what the limit of its control group leaves.
    """
    gpu = torch.cuda.mem_get_info()[0] / GIB if device == "cuda" else None
    file = Path("/proc/meminfo")
    if not file.is_file():
        return None, gpu
    rows = dict(line.split(":", 1) for line in file.read_text(encoding="ascii").splitlines() if ":" in line)
    least = float(rows["MemAvailable"].split()[0]) / 2**20 if "MemAvailable" in rows else None
    for place, limit, used, cache in CONTROL_GROUPS:
        try:
            texts = [(place / name).read_text(encoding="ascii") for name in (limit, used, "memory.stat")]
            given_back = dict(line.split() for line in texts[2].splitlines())[cache]
            left = (int(texts[0]) - int(texts[1]) + int(given_back)) / GIB
        except (OSError, ValueError, KeyError):  # no control group, or no limit
            continue
        least = left if least is None else min(least, left)
    return least, gpu


def cores_here() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_too_large(expected: Foretold, have: tuple[float | None, float | None]) -> str | None:
    """Refuse a run that does not fit, by more than the formula can be wrong; a sentence where it is doubtful.

    Args:
        expected: of `foretell`.
        have: of `available_gib`.

    Raises:
        TooLarge: it needs more memory than there is.

    Examples:
        >>> refuse_too_large(Foretold(10, 60.0, 3.0, 0.0), (16.0, None))
        >>> refuse_too_large(Foretold(10, 60.0, 3.0, 0.0), (2.8, None))
        'The run may take 3.0 GiB of memory, and 2.8 GiB are free: it may end early for want of memory.'
    """
    doubtful = None
    for needs, has, where in (
        (expected.ram_gib, have[0], "of memory"),
        (expected.gpu_gib, have[1], "of memory on the GPU"),
    ):
        if has is None or needs <= has:
            continue
        if CERTAIN * needs > has:
            raise TooLarge(
                f"The run would take about {needs:.1f} GiB {where}, and {has:.1f} GiB are free: give fewer agents (--scale, --level-scale) or "
                "fewer simulations at once (--particles), or free memory."
            )
        doubtful = f"The run may take {needs:.1f} GiB {where}, and {has:.1f} GiB are free: it may end early for want of memory."
    return doubtful
