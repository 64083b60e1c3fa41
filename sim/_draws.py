"""Differentiable random choices for agent-based models written in torch, and what each of their gradients is worth.

Every draw has the exact distribution (but for the relaxed one, `hard=False`) and a gradient that is a number. None of these gradients
is right for a long chain of draws that depend on one another, such as an epidemic: `python -m experiments.gradient_audit`
measures by how much. For epidemics of households and groups use `sim.epidemic`, whose default gradient is not built from draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["DRAWS", "Bernoulli", "Categorical", "score_function"]

DRAWS = ("straight-through", "gumbel-softmax", "score-function")
"""Gradient estimators of a single draw."""


@dataclass(frozen=True, eq=False)
class Bernoulli:
    """Independent yes-or-no draws `x ~ Bernoulli(p)`, differentiable in p.

    With f the rest of the model as a function of one draw, the derivative of the expectation is
    `d/dp E f(x) = f(1) - f(0)`. What reverse or forward mode gives instead:

    * `straight-through` (Bengio, Leonard and Courville 2013, arXiv:1308.3432): `dx/dp := 1`, so f'(x). Exact, without any variance of
      its own, where f is linear between 0 and 1 in this draw, whatever the other draws; otherwise its mean is
      `(1 - p) f'(0) + p f'(1)`. For `f = x^2`, which is x on {0, 1}, the truth is 1 and the mean `2 p`.
    * `gumbel-softmax`, the binary concrete of Maddison, Mnih and Teh 2017 (arXiv:1611.00712, appendix B) and Jang, Gu and Poole 2017
      (arXiv:1611.01144): `z = sigmoid((logit p + logit(1 - u)) / temperature)`, u the uniform number of the draw.
      `hard=True`: x is 0 or 1 as drawn and `dx/dp := dz/dp`; the mean is `E[f'(x) dz/dp]`, biased even for linear f, where it is
      `d/dp E z`: 1 on average over p, at temperature 1 below 1 in the middle and above it near 0 and 1. As the temperature
      falls to 0 that bias vanishes and the variance grows as 1 / temperature.
      `hard=False`: x is z itself, the gradient is exact, but of another model, whose draws lie between 0 and 1 and have mean E z.
    * `score-function` (Glynn 1990, Commun. ACM 33:75; REINFORCE, Williams 1992): the draw has gradient 0, and the loss takes
      `log_probability` through `sim.score_function`. Unbiased for every f, with variance `(f(1) - b)^2 / p + (f(0) - b)^2 / (1 - p) -
      (f(1) - f(0))^2` for a baseline b: 0 at `b = p f(0) + (1 - p) f(1)` (note the exchange), and growing with every
      further draw that the loss depends on.

    Attributes:
        probability: `[...]` p, in 0..1. Where p is exactly 0 or 1 the relaxed and the score-function gradients are 0.
        estimator: one of `DRAWS`.
        temperature: of `gumbel-softmax`, positive.
        hard: of `gumbel-softmax`: values of 0 and 1.

    Raises:
        ValueError: an unknown estimator, a temperature that is not positive, a probability outside 0..1 or not finite.
    """

    probability: Tensor
    estimator: str = "straight-through"
    temperature: float = 0.5
    hard: bool = True

    def __post_init__(self) -> None:
        _check(self.probability, self.estimator, self.temperature)

    def draw(self, randomness: torch.Generator | int | None = None, *, uniform: Tensor | None = None) -> Tensor:
        """Draw once.

        Args:
            randomness: a generator, or a seed for one; the same seed gives the same draw.
            uniform: instead of it `[...]`, numbers in [0, 1) of your own (common random numbers): x is 1 where they are under p.

        Returns:
            `[...]` of the type of `probability`; 0 or 1 unless relaxed.

        Raises:
            ValueError: both or neither source of randomness.
        """
        u = _uniform(self.probability, randomness, uniform)
        return bernoulli(self.probability, u, self.estimator, self.temperature, self.hard)

    def log_probability(self, value: Tensor) -> Tensor:
        """`[...]` log-probability of a draw's value (0 or 1); pass its sum to `score_function`."""
        p = _inside(self.probability)
        return torch.where(value > 0.5, torch.log(p), torch.log1p(-p))


@dataclass(frozen=True, eq=False)
class Categorical:
    """Independent draws of one of K kinds, one-hot, differentiable in their probabilities.

    With f a function of the one-hot draw x and `e_k` the k-th unit vector, `d/dp_k E f(x) = f(e_k)`, up to a constant the same for all
    k, which no change of probabilities that keeps their sum can see. The estimators are those of `Bernoulli`:

    * `straight-through`: `dx/dp := 1`, so `df/dx_k` at the draw. Exact for f linear in x, else biased as for `Bernoulli`.
    * `gumbel-softmax`: `z = softmax((log p + gumbel) / temperature)`, with x its largest entry (`hard=True`, gradient of z; biased
      even for linear f unless the temperature is small) or z itself (`hard=False`; another model). Jang, Gu and Poole 2017, eq. 2.
    * `score-function`: the draw has gradient 0; unbiased through `sim.score_function`.

    Attributes:
        probability: `[..., K]`, not negative, sums to 1 over the last axis.
        estimator: one of `DRAWS`.
        temperature: of `gumbel-softmax`, positive.
        hard: of `gumbel-softmax`: one-hot values.

    Raises:
        ValueError: as for `Bernoulli`, or probabilities that do not sum to 1.
    """

    probability: Tensor
    estimator: str = "straight-through"
    temperature: float = 0.5
    hard: bool = True

    def __post_init__(self) -> None:
        _check(self.probability, self.estimator, self.temperature)
        off = float((self.probability.detach().sum(-1) - 1).abs().max()) if self.probability.numel() else 0.0
        if off > 1e-4:
            raise ValueError(
                f"probability sums over its last axis to 1 but for {off:.2g}, where rounding was expected; divide by the sum."
            )

    def draw(self, randomness: torch.Generator | int | None = None, *, uniform: Tensor | None = None) -> Tensor:
        """Draw once; arguments as for `Bernoulli.draw`, `uniform` `[..., K]`. Returns one-hot `[..., K]` (the kind is its argmax)."""
        p = self.probability
        u = _uniform(p, randomness, uniform)
        gumbel = -torch.log(-torch.log(_inside(u)))
        score = torch.log(p.clamp_min(torch.finfo(p.dtype).tiny)) + gumbel
        best = score.detach().masked_fill(p.detach() == 0, -torch.inf).argmax(-1, keepdim=True)
        chosen = torch.zeros_like(p).scatter(-1, best, 1.0)
        if self.estimator == "straight-through":
            return _with_gradient(chosen, p)
        if self.estimator == "score-function":
            return _with_gradient(chosen, 0 * p)
        relaxed = torch.softmax(score / self.temperature, -1)
        return _with_gradient(chosen, relaxed) if self.hard else relaxed

    def log_probability(self, value: Tensor) -> Tensor:
        """`[...]` log-probability of one-hot values; pass its sum to `score_function`."""
        return torch.log(_inside((self.probability * value.detach()).sum(-1)))


def score_function(value: Tensor, log_probability: Tensor, baseline: Tensor | float = 0.0) -> Tensor:
    """A value with the score-function gradient of its expectation attached.

    Forward it is `value`; its gradient is `d value + (value - baseline) d log_probability`, unbiased for the derivative of the expected
    value (Williams 1992, Mach. Learn. 8:229, theorem 1) as long as the baseline does not depend on the same draws: a constant, a mean over
    other particles, a run with other randomness.

    Args:
        value: `[...]` losses or outputs.
        log_probability: broadcasts against it: the sum of `log_probability` over all draws that a value depends on.
        baseline: broadcasts against it.
    """
    return value + (value - baseline).detach() * (log_probability - log_probability.detach())


def bernoulli(p: Tensor, u: Tensor, estimator: str, temperature: float, hard: bool) -> Tensor:
    """`Bernoulli.draw` without its checks; `u` uniform in [0, 1) of the shape of p."""
    chosen = (u < p.detach()).to(p.dtype)
    if estimator == "straight-through":
        return _with_gradient(chosen, p)
    if estimator == "score-function":
        return _with_gradient(chosen, 0 * p)
    relaxed = torch.sigmoid((torch.logit(_inside(p)) - torch.logit(_inside(u)).to(p.dtype)) / temperature)
    return _with_gradient(chosen, relaxed) if hard else relaxed


def _with_gradient(value: Tensor, path: Tensor) -> Tensor:
    """`value` exactly, with the derivative of `path`, in reverse and in forward mode."""
    return value + (path - path.detach())


def _inside(p: Tensor) -> Tensor:
    """Away from 0 and 1, where logarithms end; the derivative of what is moved is 0."""
    info = torch.finfo(p.dtype)
    return p.clamp(info.tiny, 1 - info.eps)


def _uniform(p: Tensor, randomness: torch.Generator | int | None, uniform: Tensor | None) -> Tensor:
    if (randomness is None) == (uniform is None):
        raise ValueError(
            f"a draw was given {'no' if uniform is None else 'two'} sources of randomness, but one was expected; "
            "give a generator or a seed, or uniform numbers of your own."
        )
    if uniform is not None:
        if uniform.shape != p.shape:
            raise ValueError(
                f"uniform has shape {tuple(uniform.shape)}, but that of probability, {tuple(p.shape)}, was expected; give one number each."
            )
        return uniform
    if isinstance(randomness, int):
        randomness = torch.Generator(p.device).manual_seed(randomness)
    return torch.rand(p.shape, generator=randomness, dtype=p.dtype, device=p.device)


def _check(p: Tensor, estimator: str, temperature: float) -> None:
    if estimator not in DRAWS:
        raise ValueError(f"the estimator of a draw is {estimator!r}; choose one of {', '.join(DRAWS)}.")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature:g}, but a positive number was expected; 0.1 to 1 is usual.")
    bad = ~((p.detach() >= 0) & (p.detach() <= 1))
    if bad.any():
        where = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"probability{list(where)} is {float(p.detach()[where]):g}, but a number from 0 to 1 was expected; "
            "clamp it or mend the rate that it comes from."
        )
