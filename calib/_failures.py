"""Which parameter values broke a simulator."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import torch
from torch import Tensor

from calib._config import FitError
from calib._problem import Problem

MOST_TEXTS = 20


class Misuse(ValueError):
    """A likelihood that breaks its contract whatever the parameters; never taken for a failed particle."""


class Failures:
    """Keeps the last particles that were not finite, and the last that were, to tell what sets them apart."""

    def __init__(self, problem: Problem, keep: int = 256) -> None:
        self.problem = problem
        self.bad: deque[Tensor] = deque(maxlen=keep)
        self.good: deque[Tensor] = deque(maxlen=keep)
        self.errors: Counter[str] = Counter()

    def see(self, z: Tensor, good: Tensor) -> None:
        """Note the particles `z [particle, D]` of a step; `good [particle]` says which were finite."""
        for row, fine in zip(z.cpu().double(), good.tolist(), strict=True):
            (self.good if fine else self.bad).append(row)

    def one_by_one(
        self, evaluate: Callable[[Tensor], tuple[Tensor, Tensor]], z: Tensor, error: Exception
    ) -> tuple[Tensor, Tensor]:
        """Find the particles at which a simulator raises: they become NaN, and are counted by what was raised.

        A particle's random stream depends on its place, so each is asked in its own place, among copies of itself.

        Args:
            evaluate: `z [P, D]` to value `[P]` and slope `[P, D]`; it raised for all together.
            z: `[P, D]`.
            error: what it raised.

        Returns:
            Value and slope, NaN where the simulator raises.

        Raises:
            Exception: `error` itself, if no particle of this run has succeeded yet: then it is no matter of parameters.
        """
        value, slope = torch.full_like(z[:, 0], torch.nan), torch.full_like(z, torch.nan)
        texts = []
        for p in range(len(z)):
            try:
                rows = evaluate(z[p].expand_as(z))
                value[p], slope[p] = rows[0][p], rows[1][p]
            except Misuse:
                raise
            except Exception as one:
                if isinstance(one, FitError):
                    raise
                texts.append(f"{type(one).__name__}: {one}"[:300])
        if len(texts) == len(z) and not self.good:
            raise error
        for text in texts:
            self.errors[text if text in self.errors or len(self.errors) < MOST_TEXTS else "other errors"] += 1
        return value, slope

    def describe(self, count: int = 3) -> str:
        """Say which values broke it: the end of a sentence.

        Args:
            count: coordinates to name.

        Returns:
            Text that names coordinates, in their own units where the problem knows them.
        """
        if not self.bad:
            return "because the gradient of the flow was not finite: lower the learning rate"
        bad = torch.stack(tuple(self.bad))
        usable = torch.isfinite(bad).all(-1)
        if not usable.any():
            return "because the flow itself gave values that are not finite: lower the learning rate"
        bad = bad[usable]
        if self.good:
            good = torch.stack(tuple(self.good))
            sd = good.std(0, correction=0).clamp_min(0.1)
            distance = (bad.mean(0) - good.mean(0)).abs() / sd
            how = "the particles that failed differ most from the others in"
        else:
            distance = bad.mean(0).abs()
            how = "the particles that failed lie farthest from the prior's centre in"
        middle = bad.median(0).values
        values = middle if self.problem.to_values is None else self.problem.to_values(middle)
        names = self.problem.coordinate_names
        top = distance.argsort(descending=True)[:count].tolist()
        said = ", ".join(f"{names[i]} = {float(values[i]):.4g} (z = {float(middle[i]):+.2f})" for i in top)
        raised = "".join(f" ({n} particles raised {text!r})" for text, n in self.errors.most_common(1))
        return (
            f"because the likelihood or its gradient was not finite{raised}: {how} {said}; guard the simulator at "
            "such values, narrow "
            "their priors, or start nearer (a smaller init_scale, temper_steps)"
        )
