"""The study's likelihood with simulations in it: value and gradient of runs, and the information of each data stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from calib import Gradient, Problem, log_likelihood
from calib.multifidelity import EmulatorPosterior
from epi.data import Data
from epi.model import Simulate, Simulator, model, variance
from epi.model.distributions import SMALLEST_MEAN


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
        sites = log_likelihood(
            model, self.simulator.space.to_theta(z), self.simulator.study, simulate, self.data, self.error(z)
        )
        return torch.stack([sites[name] for name in self.data.streams]).sum(0)

    def error(self, z: Tensor) -> dict[str, Tensor] | None:
        """The emulator's standard error at `z [P, D]`, relative, by stream `[P, W, places]`: counts as noise of the data."""
        if self.posterior is None:
            return None
        return self.simulator.layout.split(self.posterior.emulator.standard_error_at(z))

    def _averaged(self, simulate: Simulate, z: Tensor) -> Simulate:
        if self.posterior is None:
            return simulate
        mean = self.simulator.layout.split(self.posterior.emulator(z.detach()))

        def with_mean(theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
            run = simulate(theta)
            # value of the mean, derivative of the run; a failed run stays failed
            return {name: mean[name] + (r - r.detach()) for name, r in run.items()}

        return with_mean

    def information(
        self, z: Tensor, flat: Tensor, jacobian: Tensor, in_likelihood: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Fisher information of each stream's observations as of normal variables with the same mean and variance.

        Args:
            z: `[P, D]`.
            flat: `[P, M]` expected observations there.
            jacobian: `[P, M, D]` their derivatives.
            in_likelihood: `[W, places]` which observations, by stream; streams that are not named or of which nothing is seen are left out.

        Returns:
            `[P, D, D]` by stream.
        """
        layout = self.simulator.layout
        expected, rows = layout.split(flat.clamp_min(SMALLEST_MEAN)), layout.split(jacobian.movedim(-1, 0))
        return {
            name: self._information_of(name, z, expected[name], rows[name], which)
            for name, which in in_likelihood.items()
            if bool(which.any())
        }

    def _information_of(self, name: str, z: Tensor, mean: Tensor, rows: Tensor, in_likelihood: Tensor) -> Tensor:
        error, study = (self.error(z) or {}).get(name), self.simulator.study
        stream, tested = study.stream(name), self.data.tested.get(name)
        names = tuple(n for n in (study.dispersion(name), study.overdispersion(name)) if n is not None)
        at = torch.tensor([self.simulator.space.slice_of(name).start for name in names], device=z.device)
        few, prior = z.index_select(-1, at), self.simulator.space.subset(names)

        def log_variance(point: Tensor) -> Tensor:
            return variance(stream, mean, prior.to_theta(point), error, tested).log()

        chosen = in_likelihood.to(mean)
        weight = chosen / log_variance(few).exp()
        out = torch.einsum("dpws,pws,epws->pde", rows, weight, rows)
        # the two coordinates that shape the variance: information (d log variance)^2 / 2
        basis = torch.eye(len(names), dtype=z.dtype, device=z.device)
        slopes = torch.stack([torch.func.jvp(log_variance, (few,), (e.expand_as(few),))[1] for e in basis])
        out[:, at[:, None], at] += 0.5 * torch.einsum("apws,ws,bpws->pab", slopes, chosen, slopes)
        return out
