"""The method "hmc": many Hamiltonian chains on a log density with derivatives, and what they say of themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calib._density_start import find_start
from calib._hamiltonian import Chains, sample_chains
from calib._noise import derive_seed

LEAST_BUDGET = 400
CHAINS = (4, 32)
GRADIENTS_OF_A_CHAIN = 1200  # from which on more chains are run rather than longer ones
WARM_UP = 0.3  # share of a chain's gradients
LATEST = 0.6  # share of the budget after which a warm-up is cut short
ACCEPTED = 0.9  # acceptance that the step size is tuned to: heavy tails and hierarchies have corners
STEPS = 4  # gradients of a transition, on which the length of the warm-up rests
LOOK = 50  # draws of a chain between two looks at whether there are enough
CONVERGED, NEARLY = 1.01, 1.05  # R-hat of a good and of a usable posterior (Vehtari et al. 2021)
EFFECTIVE, FEW_EFFECTIVE = 400, 100  # effective draws (the same)
DIVERGENT, MANY_DIVERGENT = 0.001, 0.02  # share of transitions
ENERGY = 0.3  # E-BFMI below which chains hardly move along the energy (Betancourt 2016)


@dataclass(frozen=True, eq=False)
class Sampled:
    """Chains and the evaluations spent on them."""

    chains: Chains
    spent: int
    ended: str


class Affine:
    """`z = centre + root u`: coordinates in which a Gaussian is N(0, I)."""

    def __init__(self, centre: Tensor, root: Tensor) -> None:
        self.centre, self.root = centre, root

    def noise(self, particles: int, generator: torch.Generator) -> Tensor:
        """N(0, I), `[P, D]`."""
        return torch.randn(particles, len(self.centre), generator=generator, dtype=self.centre.dtype)

    def sample_with_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z and its log density if the noise is N(0, I), up to a constant."""
        return self.centre + noise @ self.root.mT, -0.5 * (noise**2).sum(-1)

    def with_back(self, noise: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]:
        """The same, and derivatives in z and in the log density carried to the noise."""
        z, log_q = self.sample_with_log_prob(noise)
        return z, log_q, lambda by_z, by_q: by_z @ self.root - by_q[:, None] * noise

    def inverse(self, z: Tensor) -> Tensor:
        """The noise of z."""
        return torch.linalg.solve_triangular(self.root, (z - self.centre).mT, upper=False).mT


def sample_density(
    log_density: Callable[[Tensor], Tensor],
    dim: int,
    *,
    budget: int,
    seed: int,
    start: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sampled:
    """Draw from a log density.

    Chains start around the modes that searches found, twice as far spread as the Gaussians there, learn step size
    and metric, and end when R-hat and effective sample size are those of a good posterior or the budget is spent.

    Args:
        log_density: `z [P, D]` to `[P]`, differentiable; each row from its own row alone, and always the same.
        dim: D.
        budget: evaluations of the density with its derivative, of one row each.
        seed: of everything random.
        start: draws `[C, D]` to start from instead of searching.
        progress: called with transitions done and to do.

    Returns:
        Chains in z, and evaluations spent.

    Raises:
        ValueError: the budget is too small, or the density is finite nowhere.
    """
    if budget < LEAST_BUDGET:
        raise ValueError(f"a budget of {budget} evaluations was given, expected at least {LEAST_BUDGET} for chains.")
    least, most = CHAINS
    chains = min(max(budget // GRADIENTS_OF_A_CHAIN, least), most)
    if start is None:
        found = find_start(log_density, dim, chains, budget, derive_seed(seed, 0, "start"))
        where, u, spent = Affine(found.centre, found.root), None, found.spent
        u = where.inverse(found.z)
    else:
        root = torch.linalg.cholesky(start.T.cov().reshape(dim, dim) + 1e-12 * torch.eye(dim).to(start))
        where, spent = Affine(start.mean(0), root), 0
        u = where.inverse(start[torch.linspace(0, len(start) - 1, chains).long()])
    each = (budget - spent) // chains
    warmup = max(10, int(WARM_UP * each / STEPS))
    ended = "budget"

    def until(kept: list[Tensor], gradients: int) -> bool:
        nonlocal ended
        if not kept:
            return spent + gradients > LATEST * budget
        if spent + gradients + chains * 8 > budget and len(kept) >= 8:
            return True
        if len(kept) < 2 * LOOK or len(kept) % LOOK:
            return False
        so_far = _chains(torch.stack(kept))
        if float(so_far.r_hat.max()) < CONVERGED - 0.001 and _effective(so_far) >= 1.5 * EFFECTIVE:
            ended = "converged"
        return ended == "converged"

    drawn = sample_chains(
        log_density, where, chains=chains, warmup=warmup, draws=max(16, each), accepted=ACCEPTED, start=u, until=until,
        generator=torch.Generator().manual_seed(derive_seed(seed, 0, "chains")), progress=progress,
    )  # fmt: skip
    return Sampled(drawn, spent + drawn.gradients, ended)


def _chains(z: Tensor) -> Chains:
    none = torch.zeros(z.shape[:2])
    return Chains(z, none, 0.0, 0.0, 0, none, none)


def _effective(chains: Chains) -> float:
    return min(float(chains.effective.min()), float(chains.effective_tail.min()))


def assess_chains(chains: Chains, names: tuple[str, ...], ended: str) -> dict[str, Any]:
    """What chains say of themselves, as plain data with a verdict.

    Args:
        chains: the draws.
        names: of the coordinates.
        ended: `"converged"` or `"budget"`.

    Returns:
        r_hat, effective, divergent_share, energy_information (the smallest E-BFMI), `state` (good, usable, poor or
        unfinished) and `verdict`, a sentence with what to do.
    """
    r_hat, effective = float(chains.r_hat.nan_to_num(math.inf).max()), _effective(chains)
    worst = names[int(chains.r_hat.nan_to_num(math.inf).argmax())]
    share = chains.divergent / chains.diverging.numel()
    steps = chains.energy.diff(dim=0).square().mean(0)
    energy = float((steps / chains.energy.var(0).clamp_min(1e-300)).min())
    told: dict[str, Any] = {
        "r_hat": r_hat, "effective": effective, "divergent": chains.divergent, "divergent_share": share,
        "energy_information": energy, "chains": chains.z.shape[1], "draws": chains.z.shape[0],
        "accepted": chains.accepted, "step_size": chains.step,
    }  # fmt: skip
    numbers = f"R-hat {r_hat:.3f} ({worst}), {effective:,.0f} effective draws, {share:.2%} divergent transitions"
    if share > MANY_DIVERGENT:
        state = "poor"
        advice = "the posterior has regions that the chains cannot enter: write narrow hierarchies as location + scale * standardised"
    elif not r_hat < NEARLY or effective < FEW_EFFECTIVE:
        state = "unfinished" if ended == "budget" else "poor"
        advice = "the chains do not agree yet: raise the budget, and if they still do not, the posterior has several modes"
    elif r_hat < CONVERGED and effective >= EFFECTIVE and share <= DIVERGENT and energy >= ENERGY:
        state, advice = "good", "the chains agree"
    else:
        state, advice = "usable", "means and intervals are rough: raise the budget for more"
        if share > DIVERGENT:
            advice = "some transitions diverged, so that a narrow region may be missed: compare with a run of another parametrisation"
    return told | {"state": state, "verdict": f"{state}: {numbers}; {advice}"}


def log_normal_added(log_weight: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The log posterior density on z, of a log likelihood `[P, D] -> [P]` and the prior N(0, I)."""
    return lambda z: log_weight(z) - 0.5 * (z**2).sum(1)

