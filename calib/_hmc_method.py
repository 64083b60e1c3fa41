"""The method "hmc": many Hamiltonian chains on a log density with derivatives, and what they say of themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calib._config import BudgetError
from calib._deadline import NEVER, Deadline
from calib._density_start import find_start
from calib._hamiltonian import Chains, sample_chains
from calib._more_budget import Allowance
from calib._noise import derive_seed
from calib._verdict import CalibrationVerdict, Evidence, State

LEAST_BUDGET = 400
CHAINS = (4, 32)
GRADIENTS_OF_A_CHAIN = 1200  # from which on more chains are run rather than longer ones
WARM_UP = 0.3  # share of a chain's gradients
LATEST = 0.6  # share of the budget after which a warm-up is cut short
ACCEPTED = 0.9  # acceptance that the step size is tuned to: heavy tails and hierarchies have corners
STEPS = 4  # gradients of a transition, on which the length of the warm-up rests
LOOK = 50  # draws of a chain between two looks at whether there are enough
CONVERGED, NEARLY = 1.01, 1.05  # R-hat of a good and of a usable posterior (Vehtari et al. 2021)
STUCK = 1.1  # R-hat at half of the budget from which on another form of the model is tried
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
        """Z and its log density if the noise is N(0, I), up to a constant."""
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
    number: int | None = None,
    leave_stuck: bool = False,
    deadline: Deadline = NEVER,
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
        start: draws `[S, D]` to start from, instead of searching; they also give the first metric.
        number: of chains; by the budget if None.
        deadline: after which the warm-up, or else the chains, end.
        leave_stuck: whether chains that disagree widely end at half of the budget.
        progress: called with transitions done and to do.

    Returns:
        Chains in z, and evaluations spent.

    Raises:
        ValueError: the density is finite nowhere.
        BudgetError: the budget is too small.
    """
    if budget < LEAST_BUDGET:
        raise BudgetError(budget, LEAST_BUDGET, "for chains")
    least, most = CHAINS
    chains = number or min(max(budget // GRADIENTS_OF_A_CHAIN, least), most)
    if start is None:
        found = find_start(log_density, dim, chains, budget, derive_seed(seed, 0, "start"))
        where, u, spent = Affine(found.centre, found.root), None, found.spent
        u = where.inverse(found.z)
    else:
        covariance = start.T.cov().reshape(dim, dim)
        few = dim / (dim + len(start))  # draws that are few for their dimension leave correlations uncertain
        root = torch.linalg.cholesky((1 - few) * covariance + few * covariance.diagonal().clamp_min(1e-12).diag())
        where, spent = Affine(start.mean(0), root), 0
        u = where.inverse(start[torch.linspace(0, len(start) - 1, chains).long()])
    each = (budget - spent) // chains
    warmup = max(10, int(WARM_UP * each / STEPS))
    ended, looked = "budget", False

    def until(kept: list[Tensor], gradients: int) -> bool:
        nonlocal ended, looked
        if not kept:
            return deadline.passed() or spent + gradients > LATEST * budget
        if leave_stuck and not looked and spent + gradients > 0.5 * budget and len(kept) >= LOOK:
            looked = True
            if not float(_chains(where, kept).r_hat.max()) < STUCK:
                return True
        if deadline.passed() and len(kept) >= 8:
            ended = "max_seconds"
            return True
        if spent + gradients + chains * 8 > budget and len(kept) >= 8:
            return True
        if len(kept) < 2 * LOOK or len(kept) % LOOK:
            return False
        so_far = _chains(where, kept)
        if float(so_far.r_hat.max()) < CONVERGED - 0.001 and _effective(so_far) >= 1.5 * EFFECTIVE:
            ended = "converged"
        return ended == "converged"

    drawn = sample_chains(
        log_density, where, chains=chains, warmup=warmup, draws=max(16, each), accepted=ACCEPTED, start=u, until=until,
        generator=torch.Generator().manual_seed(derive_seed(seed, 0, "chains")), progress=progress,
    )  # fmt: skip
    return Sampled(drawn, spent + drawn.gradients, ended)


def joined(first: Chains, second: Chains) -> Chains:
    """Draws of as many chains, one after another."""
    diverging = torch.cat([first.diverging, second.diverging])
    return Chains(
        torch.cat([first.z, second.z]), torch.cat([first.log_density, second.log_density]), second.step,
        (len(first.z) * first.accepted + len(second.z) * second.accepted) / len(diverging), int(diverging.sum()), diverging,
        torch.cat([first.energy, second.energy]), first.gradients + second.gradients,
    )  # fmt: skip


def _chains(where: Affine, kept: list[Tensor]) -> Chains:
    """Draws so far, for their R-hat."""
    z = where.sample_with_log_prob(torch.stack(kept))[0]
    none = torch.zeros(z.shape[:2])
    return Chains(z, none, 0.0, 0.0, 0, none, none)


def _effective(chains: Chains) -> float:
    return min(float(chains.effective.min()), float(chains.effective_tail.min()))


def summary(chains: Chains) -> dict[str, Any]:
    """Numbers that tell whether chains agree, as plain data.

    Returns:
        chains, draws (of each), r_hat (the largest), effective (the smaller of bulk and tail, of the worst coordinate),
        divergent, energy_information (the smallest E-BFMI), accepted, step_size.
    """
    steps = chains.energy.diff(dim=0).square().mean(0)
    return {
        "chains": chains.z.shape[1], "draws": chains.z.shape[0],
        "r_hat": float(chains.r_hat.nan_to_num(math.inf).max()), "effective": _effective(chains),
        "divergent": chains.divergent, "accepted": chains.accepted, "step_size": chains.step,
        "energy_information": float((steps / chains.energy.var(0).clamp_min(1e-300)).min()),
    }  # fmt: skip


def assess_chains(found: Sampled, names: tuple[str, ...], allowance: Allowance) -> CalibrationVerdict:
    """Judge a posterior by its chains: R-hat, effective sample size, divergent transitions, energy.

    Args:
        found: chains from widely spread starts.
        names: of the coordinates.
        allowance: what the call might spend.

    Returns:
        The verdict.
    """
    chains = found.chains
    told = summary(chains)
    share, r_hat, effective = chains.divergent / chains.diverging.numel(), told["r_hat"], told["effective"]
    worst = names[int(chains.r_hat.nan_to_num(math.inf).argmax())]
    reasons = [
        f"{told['chains']} chains of {told['draws']} draws: R-hat {r_hat:.3f} ({worst}), {effective:,.0f} effective draws, "
        f"{share:.2%} of transitions divergent."
    ]
    state: State = "good"
    advice = "Use the draws."
    # the excess of R-hat falls, and effective draws grow, in proportion to the length of the chains
    wanted = max(EFFECTIVE / max(effective, 1e-9), (r_hat - 1) / (CONVERGED - 1), 2.0)
    more = allowance.more_time(wanted) if found.ended == "max_seconds" else allowance.more(wanted)
    if not r_hat < NEARLY or effective < FEW_EFFECTIVE:
        state = "poor" if found.ended == "converged" else "unfinished"
        reasons.append("The chains do not agree yet.")
        advice = f"{more[:1].upper()}{more[1:]}; if they still do not agree, the posterior has several modes or a corner too narrow to enter."
    elif share > MANY_DIVERGENT:
        state = "poor"
        reasons.append("The posterior has corners that chains cannot enter.")
        advice = "Write narrow hierarchies as location + scale * standardised, or take narrower priors."
    elif share > DIVERGENT or told["energy_information"] < ENERGY:
        state = "usable"
        reasons.append("A narrow corner of the posterior may be missed.")
        advice = f"Compare with another way to write the hierarchy, or {more}."
    elif not (r_hat < CONVERGED and effective >= EFFECTIVE):
        state, advice = "usable", f"Means and intervals are rough: if much depends on them, {more}."
    ended = "converged" if state == "good" else found.ended
    draws = chains.diverging.numel()
    evidence = Evidence(ended, 1.0, draws, draws, effective_share=min(1.0, effective / draws), shift=0.0, stretch=1.0)
    return CalibrationVerdict(state, tuple(reasons), advice, evidence)


def log_posterior(log_likelihood: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The log posterior density on z, of a log likelihood `[P, D] -> [P]` and the prior N(0, I)."""
    return lambda z: log_likelihood(z) - 0.5 * (z**2).sum(1)
