"""Random numbers of a step, from (seed, step) alone: a resumed run draws what it would have drawn."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def derive_seed(seed: int, step: int, stream: str) -> int:
    """A seed in [0, 2^63) for one use at one step.

    Args:
        seed: of the run.
        step: number of the step.
        stream: what it is for, e.g. `"noise"` or `"simulate"`.

    Returns:
        The seed.

    Examples:
        >>> from calib import derive_seed
        >>> derive_seed(0, 1, "noise") == derive_seed(0, 1, "noise")
        True
        >>> derive_seed(0, 1, "noise") == derive_seed(0, 2, "noise")
        False
    """
    digest = hashlib.sha256(f"{seed}/{step}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def base_noise(kind: str, particles: int, dim: int, seed: int) -> Tensor:
    """Base noise of the particles, each row N(0, I) by itself.

    Args:
        kind: `"independent"`; `"antithetic"`, where the second half is minus the first; or `"sobol"`,
            scrambled points.
        particles: P.
        dim: D.
        seed: of these numbers.

    Returns:
        `[P, D]`, float64, on the CPU.

    Raises:
        ValueError: if the kind is unknown.
    """
    if kind == "sobol":
        points = torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed % 2**31).draw(
            particles, dtype=torch.float64
        )  # The engine has 30 bits: half a cell keeps its zeros off the boundary.
        return torch.special.ndtri(points.clamp(2.0**-31, 1 - 2.0**-31))
    generator = torch.Generator().manual_seed(seed)
    if kind == "independent":
        return torch.randn(particles, dim, generator=generator, dtype=torch.float64)
    if kind == "antithetic":
        half = torch.randn((particles + 1) // 2, dim, generator=generator, dtype=torch.float64)
        return torch.cat([half, -half])[:particles]
    raise ValueError(f"no base noise is called {kind!r}: choose independent, antithetic or sobol")
