"""The study as a problem for `calib`: likelihood with either gradient, and its linearisation for the warm start."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calib import Gradient, Problem, attach_jacobian, log_likelihood
from calib._warm_start import Linearised
from experiments.nz_calibration._model import DISPERSIONS, SIGNALS, SMALLEST_MEAN, Data, Simulator, model
from experiments.nz_calibration._observation import Expected


@dataclass(frozen=True, eq=False)
class Inference:
    """Likelihood of the fitted weeks.

    Attributes:
        simulator: over the fitted weeks. data: the counts. batch: particles simulated at once, bounds memory.
    """

    simulator: Simulator
    data: Data
    batch: int = 8

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
            if gradient == "forward":
                simulate = self.simulator.bind_forward(part, seed, streams)
            else:
                simulate = self.simulator.bind(seed, streams)
            sites = log_likelihood(model, self.simulator.space.to_theta(part), simulate, self.data)
            rows.append(torch.stack([sites[name] for name in SIGNALS]).sum(0))
        return torch.cat(rows)

    def linearise(self, z: Tensor, seed: int) -> Linearised:
        """Value, gradient and Fisher information of the log likelihood, from one forward-mode pass a particle."""
        space, sim = self.simulator.space, self.simulator
        flat, jacobian = sim.jacobian(z, seed)
        leaf = z.detach().clone().requires_grad_()
        theta = space.to_theta(leaf)
        attached = attach_jacobian(leaf, flat, jacobian)
        sites = log_likelihood(model, theta, lambda _: Expected.from_flat(attached, sim.weeks), self.data)
        value = torch.stack([sites[name] for name in SIGNALS]).sum(0)
        (gradient,) = torch.autograd.grad(value[torch.isfinite(value)].sum(), leaf)
        return Linearised(value.detach(), gradient, self._information(leaf.detach(), flat, jacobian))

    def _information(self, z: Tensor, flat: Tensor, jacobian: Tensor) -> Tensor:
        """Fisher information of negative-binomial counts, `[P, D, D]`: of their means, and of their dispersions as of a variance."""
        space, weeks = self.simulator.space, self.simulator.weeks
        theta, slope = space.to_theta(z), space.log_slope(z)
        expected = Expected.from_flat(flat, weeks)
        rows = Expected.from_flat(jacobian.movedim(-1, 0), weeks)
        out = z.new_zeros(*z.shape, z.shape[-1])
        for signal in SIGNALS:
            name = DISPERSIONS[signal]
            mean = getattr(expected, signal).clamp_min(SMALLEST_MEAN)
            extra = (theta[name][:, None, None] * mean) ** 2
            weight = self.data.fitted[:, None] / (mean + extra)
            j = getattr(rows, signal)  # [D, P, W, places]
            out += torch.einsum("dpws,pws,epws->pde", j, weight, j)
            log_slope = slope[name].exp() / theta[name]  # d log(relative sd) / dz
            share = (extra / (mean + extra)) * self.data.fitted[:, None]
            at = space.slice_of(name).start
            out[:, at, at] += 2 * (share**2).sum((-1, -2)) * log_slope**2
        return out
