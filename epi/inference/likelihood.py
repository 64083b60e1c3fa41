"""The study's likelihood with simulations in it: value and gradient of runs, and the information of each data stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from calib import Gradient, Problem, log_likelihood
from calib.multifidelity import EmulatorPosterior
from epi.data.observations import Data
from epi.model.model import (
    SMALLEST_MEAN,
    Simulate,
    Simulator,
    model,
    variance,
)
from epi.model.observation import Expected
from epi.study.streams import SIGNALS


@dataclass(frozen=True, eq=False)
class Inference:
    """Likelihood of the fitted weeks.

    With the posterior by an emulator the likelihood compares the data with the expectation over random-number streams instead of with one
    run: a run's value is replaced by the emulator's mean at its parameters, while its gradient still passes through the run.

    Attributes:
        simulator: over the fitted weeks. data: the counts. batch: particles simulated at once, bounds memory.
        posterior: by an emulator, or None to compare single runs.
    """

    simulator: Simulator
    data: Data
    batch: int = 8
    posterior: EmulatorPosterior | None = None

    def problem(self, fingerprint: str) -> Problem:
        """The log likelihood on z as `calib.fit` wants it."""
        space = self.simulator.space
        return Problem(
            dim=space.dim,
            log_likelihood=self.log_likelihood,
            names=space.names,
            to_values=lambda z: space.flatten(space.to_theta(z)),
            fingerprint=fingerprint,
        )

    def log_likelihood(self, z: Tensor, seed: int, gradient: Gradient) -> Tensor:
        """`[P]` log likelihood at `z [P, D]`; particle p uses random stream p of the seed."""
        rows = []
        for start in range(0, len(z), self.batch):
            part = z[start : start + self.batch]
            streams = torch.arange(start, start + len(part))
            forward = gradient == "forward"
            simulate = (
                self.simulator.bind_forward(part, seed, streams) if forward else self.simulator.bind(seed, streams)
            )
            rows.append(self._likelihood(part, self._averaged(simulate, part)))
        return torch.cat(rows)

    def _likelihood(self, z: Tensor, simulate: Simulate) -> Tensor:
        sites = log_likelihood(model, self.simulator.space.to_theta(z), simulate, self.data, self.error(z))
        return torch.stack([sites[name] for name in self.data.signals]).sum(0)

    def error(self, z: Tensor) -> dict[str, Tensor] | None:
        """The emulator's standard error at `z [P, D]`, relative, by signal `[P, W, places]`: counts as noise of the data."""
        if self.posterior is None:
            return None
        error = Expected.from_flat(self.posterior.emulator.standard_error_at(z), self.simulator.weeks)
        return {signal: getattr(error, signal) for signal in SIGNALS}

    def _averaged(self, simulate: Simulate, z: Tensor) -> Simulate:
        if self.posterior is None:
            return simulate
        mean = Expected.from_flat(self.posterior.emulator(z.detach()), self.simulator.weeks)

        def with_mean(theta: Mapping[str, Tensor]) -> Expected:
            run = simulate(theta)
            # value of the mean, derivative of the run; a failed run stays failed
            pairs = ((getattr(run, f.name), getattr(mean, f.name)) for f in fields(Expected))
            return Expected(*(m + (r - r.detach()) for r, m in pairs))

        return with_mean

    def information(self, z: Tensor, flat: Tensor, jacobian: Tensor, seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fisher information of each signal's figures as of normal variables with the same mean and variance.

        Args:
            z: `[P, D]`.
            flat: `[P, M]` expected figures there.
            jacobian: `[P, M, D]` their derivatives.
            seen: `[W, places]` which figures, by signal; signals that are not named or of which nothing is seen are left out.

        Returns:
            `[P, D, D]` by signal.
        """
        weeks = self.simulator.weeks
        expected = Expected.from_flat(flat.clamp_min(SMALLEST_MEAN), weeks)
        rows = Expected.from_flat(jacobian.movedim(-1, 0), weeks)
        return {
            signal: self._information_of(signal, z, getattr(expected, signal), getattr(rows, signal), which)
            for signal, which in seen.items()
            if bool(which.any())
        }

    def _information_of(self, signal: str, z: Tensor, mean: Tensor, rows: Tensor, seen: Tensor) -> Tensor:
        error = (self.error(z) or {}).get(signal)
        names = (SIGNALS[signal].dispersion, "cluster_size")
        at = torch.tensor([self.simulator.space.slice_of(name).start for name in names], device=z.device)
        few, prior = z.index_select(-1, at), self.simulator.space.subset(names)

        def log_variance(point: Tensor) -> Tensor:
            return variance(signal, mean, prior.to_theta(point), error).log()

        chosen = seen.to(mean)
        weight = chosen / log_variance(few).exp()
        out = torch.einsum("dpws,pws,epws->pde", rows, weight, rows)
        # the two coordinates that shape the variance: information (d log variance)^2 / 2
        basis = torch.eye(len(names), dtype=z.dtype, device=z.device)
        slopes = torch.stack([torch.func.jvp(log_variance, (few,), (e.expand_as(few),))[1] for e in basis])
        out[:, at[:, None], at] += 0.5 * torch.einsum("apws,ws,bpws->pab", slopes, chosen, slopes)
        return out
