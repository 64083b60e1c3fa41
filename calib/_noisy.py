"""The ways of `calibrate` for stochastic simulators: iterated regression and tempered importance sampling, on the same runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calib._flows import Flow
from calib._iterated_regression import Adjusted, DrawData, NoisyRuns, in_rounds, iterated_regression, log_prior
from calib._methods import DRAWN, Fitted, Task, flow_at
from calib._noise import derive_seed
from calib._noise_pilot import RUNS, Pilot, log_likelihood_sd, simulate_apart
from calib._noisy_verdict import NoiseEvidence, exact_weights, judge_noisy
from calib._observed import Likelihood, finite_or_impossible, unchecked
from calib._tempered_importance import Tempered, tail_of, temper, tempered_weights
from calib._verdict import CalibrationVerdict, Evidence

NOISY = ("abc-regression", "importance")
NETWORK_FROM = (
    1500  # runs from which the summary has a network: what a linear one loses moves means by half an sd at times
)
STEPS = 200  # updates of a spline flow
BLUR = 0.15  # sds added to draws, which are then shrunk as much: a flow must not see atoms
BIAS = {
    "abc-regression": "They are wider than the exact posterior by what the learned summary loses.",
    "importance": "They are exact up to Monte Carlo error where the weights are not tempered, else too wide.",
}


@dataclass(frozen=True, eq=False)
class Sampler:
    """Noisy data of outputs, the entries that were observed alone.

    Attributes:
        likelihood: distribution of the data given outputs.
        present: which entries were observed, flat.
    """

    likelihood: Likelihood
    present: Tensor

    def __call__(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw, `[P, M]` to `[P, K]`."""
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]), torch.no_grad(), unchecked():
            torch.manual_seed(seed)
            return self.likelihood(outputs).sample().double().flatten(1)[:, self.present]


def can_draw(likelihood: Likelihood | None, pilot: Pilot | None) -> bool:
    """Whether noisy data can be drawn from the likelihood of the pilot's outputs."""
    if likelihood is None or pilot is None or len(pilot.outputs) == 0:
        return False
    try:
        with torch.random.fork_rng(devices=[]), unchecked():
            likelihood(pilot.outputs).sample()
    except NotImplementedError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class NoisyFit:
    """A fit, and what its verdict needs.

    Attributes:
        fitted: the flow and what the report says.
        regression: draws by regression; None without.
        tempered: the same runs by weights.
        method: which of the two the flow was fitted to.
    """

    fitted: Fitted
    regression: Adjusted | None
    tempered: Tempered
    method: str


def fit_noisy(task: Task, name: str, pilot: Pilot, likelihood: Likelihood | None, data: Tensor | None) -> NoisyFit:
    """Make the runs and fit a flow to what they say.

    Args:
        task: as for every method.
        name: "abc-regression" or "importance".
        pilot: whether the rows of one call share their noise.
        likelihood: to draw noisy data from; only for "abc-regression".
        data: observed; NaN where missing.

    Returns:
        The fit: by untempered weights where these are exact, else by the method asked for.

    Raises:
        ValueError: regression was asked for where it cannot be.
        FitError: fewer than 40 runs were finite.
    """
    space = task.space

    def simulate(z: Tensor, seed: int) -> Tensor:
        return simulate_apart(task.outputs, space, z, seed, pilot.shared)

    def value(runs: NoisyRuns) -> Tensor:
        return task.loss_weight * finite_or_impossible(task.source.log_likelihood(runs.outputs))

    def by_weights(runs: NoisyRuns, learning: Tensor, generator: torch.Generator) -> Adjusted:
        found = temper(runs.z, value(runs), runs.log_proposal)
        return Adjusted(runs.z, found.weight, found.effective, 0.0)

    earlier = None if task.earlier is None else task.earlier.noisy
    regression: Adjusted | None = None
    if name == "importance":
        runs, _ = in_rounds(
            simulate, by_weights, space.dim, task.budget, task.seed, task.progress, earlier, task.deadline
        )
    else:
        draw, observed = _sampler(task, likelihood, data)
        network = (earlier.tried if earlier is not None else 0) + task.budget >= NETWORK_FROM
        runs, regression = iterated_regression(
            simulate, draw, observed, space.dim, task.budget, task.seed, network=network, progress=task.progress,
            earlier=earlier, deadline=task.deadline,
        )  # fmt: skip
    tempered = temper(runs.z, value(runs), runs.log_proposal)
    if regression is None or exact_weights(tempered.temperature, tempered.effective, tempered.k_hat):
        draws, method = Adjusted(runs.z, tempered.weight, tempered.effective, 0.0), "importance"
    else:
        draws, method = regression, "abc-regression"
    made = runs.tried - (earlier.tried if earlier is not None else 0)
    told: dict[str, Any] = {
        "weight": 1.0, "simulations": made, "calls": made, "dropped": runs.dropped,
        "stopped_because": "max_seconds" if made < task.budget else "trained", "rounds": [],
    }  # fmt: skip
    generator = torch.Generator().manual_seed(derive_seed(task.seed, 0, "noisy-flow"))
    z = blurred(draws, generator)
    plain = task.flow == "auto" and not is_bent(z, draws.effective)
    flow = flow_at("gaussian" if plain else task.flow, z, task.seed, STEPS)
    return NoisyFit(Fitted(flow, None, None, told, noisy=runs), regression, tempered, method)


def _sampler(task: Task, likelihood: Likelihood | None, data: Tensor | None) -> tuple[DrawData, Tensor]:
    if likelihood is None or data is None:
        raise ValueError(
            "method='abc-regression' learns from simulated data, but the simulator gives a log likelihood alone: pass its "
            "outputs and likelihood=, or take method='importance'."
        )
    if task.loss_weight != 1.0:
        raise ValueError(
            f"method='abc-regression' knows no loss_weight ({task.loss_weight:g} was given): leave it at 1, or take "
            "method='importance'."
        )
    flat = data.flatten().double()
    present = ~flat.isnan()
    return Sampler(likelihood, present), flat[present]


def blurred(draws: Adjusted, generator: torch.Generator) -> Tensor:
    """Equally weighted draws `[S, D]` of the same mean and covariance, without copies."""
    z = draws.sample(DRAWN, generator)
    centre = z.mean(0)
    covariance = z.T.cov().reshape(z.shape[1], -1)
    small = 1e-10 * covariance.diagonal().mean().clamp_min(1e-12) * torch.eye(z.shape[1]).to(z)
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype) @ torch.linalg.cholesky(covariance + small).T
    return centre + (z - centre + BLUR * noise) / (1 + BLUR**2) ** 0.5


def is_bent(z: Tensor, effective: float) -> bool:
    """Whether draws are not of a normal distribution, by skewness and kurtosis of all directions (Mardia 1970).

    Args:
        z: `[S, D]`.
        effective: independent draws that they are worth: with few, chance skews them.
    """
    dim = z.shape[1]
    factor = torch.linalg.cholesky(z.T.cov().reshape(dim, dim) + 1e-12 * torch.eye(dim).to(z))
    unit = torch.linalg.solve_triangular(factor, (z - z.mean(0)).T, upper=False).T
    third = torch.einsum("si,sj,sk->ijk", unit, unit, unit) / len(z)
    fourth = float(((unit**2).sum(1) ** 2).mean()) - dim * (dim + 2)
    freedom = dim * (dim + 1) * (dim + 2) / 6
    skewed = effective * float((third**2).sum()) / 6 > freedom + 4 * (2 * freedom) ** 0.5
    return skewed or abs(fourth) > 4 * (8 * dim * (dim + 2) / effective) ** 0.5


def check_noisy(task: Task, found: NoisyFit, pilot: Pilot, draws: int) -> tuple[NoiseEvidence, CalibrationVerdict]:
    """Simulate at draws of the fit that no method has seen, and judge.

    Args:
        task: as for every method.
        found: the fit.
        pilot: of the noise.
        draws: simulations that may be spent; 20 of them at the mean.

    Returns:
        The evidence and the verdict.
    """
    generator = torch.Generator().manual_seed(derive_seed(task.seed, 0, "check"))
    flow, count = found.fitted.flow, draws - RUNS
    with torch.no_grad():
        z, log_q = _draw(flow, count, generator)
        many = _draw(flow, DRAWN, generator)[0]
        mean, sd = many.mean(0), many.std(0)
        outputs = simulate_apart(task.outputs, task.space, z, derive_seed(task.seed, 0, "check-simulate"), pilot.shared)
        at_mean = mean.expand(RUNS, -1)
        second = simulate_apart(
            task.outputs, task.space, at_mean, derive_seed(task.seed, 1, "check-simulate"), pilot.shared
        )
    value = task.loss_weight * finite_or_impossible(task.source.log_likelihood(outputs))
    noise = log_likelihood_sd(task.source.log_likelihood(second))
    finite = int(torch.isfinite(value).sum())
    # a bridge from the fit towards the posterior, as far as enough of the fresh simulations count
    ratio = value + log_prior(z) - log_q
    weight, power, effective = tempered_weights(torch.zeros_like(ratio), ratio, min(50.0, count / 2))
    moved, moved_sd = weight @ z, (weight @ (z - weight @ z) ** 2).sqrt()
    k_hat = tail_of(ratio)
    evidence = Evidence(
        "trained", 1.0, count, finite, failed=float((~torch.isfinite(outputs).all(1)).double().mean()),
        effective_share=effective / count, k_hat=min(k_hat, 9.99) if k_hat > 0 else None, k_hat_draws=finite,
        shift=float(((moved - mean).abs() / sd).max()), stretch=float((moved_sd / sd).log().abs().max().exp()),
    )  # fmt: skip
    told = _evidence(task, found, pilot, noise, power)
    return told, judge_noisy(told, evidence, task.allowance)


def _draw(flow: Flow, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    z, log_q = flow.sample_with_log_prob(flow.noise(count, generator))
    return z.double(), log_q.double()


def _evidence(task: Task, found: NoisyFit, pilot: Pilot, noise: float, fresh_temperature: float) -> NoiseEvidence:
    tempered, regression = found.tempered, found.regression
    apart: dict[str, Any] = {"disagreement": float("inf"), "ratio": float("inf"), "effective": 0.0}
    if regression is not None:
        apart = {
            "disagreement": float(((regression.mean - tempered.mean).abs() / regression.sd).max()),
            "ratio": float((regression.sd / tempered.sd).log().abs().max().exp()),
            "effective": regression.effective,
        }
    return NoiseEvidence(
        method=found.method, dim=task.space.dim, pilot_sd=pilot.sd, sd=noise, temperature=tempered.temperature,
        weighted=tempered.effective, k_hat=tempered.k_hat, fresh_temperature=fresh_temperature,
        bias=BIAS[found.method], cost=f"{found.fitted.told['simulations']} simulations, one for each draw of the parameters.", **apart,
    )  # fmt: skip
