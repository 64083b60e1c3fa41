"""The study as a problem for `calib`: likelihood with either gradient, and its parts for the warm start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from calib import Gradient, Problem, log_likelihood
from calib._common_error import CommonError, common_error
from calib._local_mean import Chart, LocalMean, identity
from calib._slopes import with_slope
from calib._warm_start import Outputs
from epi.data import Data
from epi.inference.in_likelihood import Emulated, Seen, make_seen
from epi.model import Simulate, Simulator, model, variance
from epi.model.distributions import SMALLEST_MEAN

COUNTRY_BATCH = 2  # runs of the larger population at once: one a core
ERRORS = 48
"""Errors that the figures seen share: leading components of the strays of runs."""


def people_per_agent(simulator: Simulator, weeks: int) -> Tensor:
    """`[M]` people an agent stands for, for each expected count: of its district, or of the whole country."""
    people = torch.as_tensor(simulator.population.people_per_agent, dtype=torch.float64)
    size = torch.as_tensor(simulator.population.region_size, dtype=torch.float64)
    country = (people * size).sum() / size.sum()
    share = people * size
    region, study = simulator.study.region, simulator.study
    by_axis = {region.axis: people}
    if region.areas:
        places = [[region.names.index(name) for name in names] for names in region.areas.values()]
        by_axis[region.area_axis] = torch.stack([share[at].sum() / size[at].sum() for at in places])
    layout = simulator.layout.until(weeks)
    rows = {s.name: by_axis.get(s.by, country.expand(len(layout.places[s.name]))) for s in study.streams}
    return layout.flat({name: row.expand(weeks, -1) for name, row in rows.items()})


@dataclass(frozen=True, eq=False)
class Inference:
    """Likelihood of the fitted weeks.

    With a `local` mean the likelihood compares the data with the expectation over random streams instead of with one
    run: a run's value is replaced by the local mean at its parameters, while its gradient still passes through the run.

    Attributes:
        simulator: over the fitted weeks. data: the counts. batch: particles simulated at once, bounds memory.
        local: mean expected counts near the posterior, or None to compare single runs.
        country: over the fitted weeks on a larger population, whose runs set the level of the local mean; None for `simulator`.
        chart: coordinates along which runs are carried.
    """

    simulator: Simulator
    data: Data
    batch: int = 8
    local: LocalMean | None = None
    country: Simulator | None = None
    chart: Chart = identity

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

    def local_problem(self, fingerprint: str) -> Problem:
        """As `problem` by the local mean alone, with no simulation."""
        local = self.local
        if local is None:
            raise ValueError("a fit without simulations needs a local mean; set `local` first.")
        seen = self._seen
        fitted = local.of(seen.which)
        if fitted.bend is not None:
            compiled = seen.emulated(fitted, None)
            return replace(self.problem(fingerprint), log_likelihood=lambda z, seed, gradient: compiled(z, z[:, :0]))

        def log_likelihood(z: Tensor, seed: int, gradient: Gradient) -> Tensor:
            mean, unsure, noise = fitted.with_error(z)
            return seen.log_likelihood(z, mean, unsure[:, None] * noise)

        return replace(self.problem(fingerprint), log_likelihood=log_likelihood)

    def common_error(self, z: Tensor) -> CommonError:
        """Errors that the figures seen share, weighed by what these tell at `z [D]`."""
        at, seen, weeks = z[None], self._seen, self.simulator.weeks
        local = self.fitted
        mean, theta = self._local(at), self.simulator.space.to_theta(at)
        layout, study = self.simulator.layout, self.simulator.study
        expected, weight = layout.split(mean), layout.split(torch.ones_like(mean))
        for name in self.data.signals:
            m = expected[name]
            weight[name] = m**2 / variance(study.stream(name), m, theta, tested=self.data.tested.get(name))
        share = 1 / people_per_agent(self.country or self.simulator, weeks)
        return common_error(local, layout.flat(weight)[0, seen.which], share[seen.which], ERRORS)

    def joint(self, errors: CommonError) -> Joint:
        """Log posterior of parameters and errors by the local mean, up to a constant."""
        compiled = None if self.fitted.bend is None else self._seen.emulated(self.fitted, errors)
        return Joint(self, errors, compiled)

    def off_by(self, z: Tensor, errors: CommonError, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Expected figures seen, `[P, F]`, at `z [P, D]` and errors `drawn [P, K]`, and the relative variance that remains of them."""
        mean, unsure, _ = self.fitted.with_error(z)
        return errors.of(mean, unsure, drawn)

    def least_known(self, z: Tensor, count: int) -> Tensor:
        """Those of `z [P, D]` that would tell most of the local mean if they were run, `[count, D]`; none of a straight mean."""
        local = self._local
        if local.bend is None:
            return z[:0]
        return z[local.bend.unsure.farthest(local.chart(z) - local.centre, count)]

    @property
    def which(self) -> Tensor:
        """`[F]` where the figures seen stand among the expected ones (`Expected.flat`)."""
        return self._seen.which

    @cached_property
    def fitted(self) -> LocalMean:
        """The local mean of the figures seen."""
        return self._local.of(self._seen.which)

    @property
    def _local(self) -> LocalMean:
        if self.local is None:
            raise ValueError("errors are those of a local mean; set `local` first.")
        return self.local

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

    def outputs(self) -> Outputs:
        """Simulator and likelihood taken apart, for the warm start."""
        return Outputs(
            self.simulator.jacobian,
            self.likelihood_of_means,
            self._information,
            SMALLEST_MEAN,
            None if self.country is None else self.values,
            self.chart,
        )

    def values(self, z: Tensor, seed: int, first: int = 0) -> Tensor:
        """Expected counts `[P, M]` at `z [P, D]`, one run each on the larger population if there is one, without derivatives.

        The rows take random streams from `first` on.
        """
        simulator, rows = self.country or self.simulator, []
        with torch.no_grad():
            for start in range(0, len(z), COUNTRY_BATCH):
                part = z[start : start + COUNTRY_BATCH]
                simulate = simulator.bind(seed, torch.arange(first + start, first + start + len(part)))
                rows.append(simulator.layout.flat(simulate(simulator.space.to_theta(part))))
        return torch.cat(rows)

    def likelihood_of_means(self, z: Tensor, flat: Tensor) -> Tensor:
        """`[P]` log likelihood if `flat [P, M]` are the expected counts."""
        seen, error = self._seen, None
        if self.local is not None:
            _, unsure, noise = self.fitted.with_error(z)
            error = unsure[:, None] * noise
        return seen.log_likelihood(z, flat[:, seen.which], error)

    @cached_property
    def _seen(self) -> Seen:
        return make_seen(self.simulator.space, self.data, self.simulator.layout)

    def _likelihood(self, z: Tensor, simulate: Simulate) -> Tensor:
        sites = log_likelihood(
            model, self.simulator.space.to_theta(z), self.simulator.study, simulate, self.data, self.error(z)
        )
        return torch.stack([sites[name] for name in self.data.signals]).sum(0)

    @property
    def fitted_mean(self) -> Tensor:
        """`[M]` which expected counts are compared with figures: the weeks that the likelihood sees, without infections."""
        layout = self.simulator.layout
        none = {name: torch.zeros(layout.weeks, len(p), dtype=torch.float64) for name, p in layout.places.items()}
        return layout.flat(none | {name: x.double() for name, x in self.data.seen.items()}) > 0

    def error(self, z: Tensor) -> dict[str, Tensor] | None:
        """What is not known of the local mean at `z [P, D]`, relative, by signal `[P, W, places]`: counts as noise of the data."""
        if self.local is None:
            return None
        return self.simulator.layout.split(self.local.relative_error_at(z))

    def _averaged(self, simulate: Simulate, z: Tensor) -> Simulate:
        if self.local is None:
            return simulate
        mean = self.simulator.layout.split(self.local(z.detach()))

        def with_mean(theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
            run = simulate(theta)
            # value of the mean, derivative of the run; a failed run stays failed
            return {name: mean[name] + (r - r.detach()) for name, r in run.items()}

        return with_mean

    def _information(self, z: Tensor, flat: Tensor, jacobian: Tensor) -> Tensor:
        """Fisher information of all figures seen, `[P, D, D]`."""
        parts = self.information(z, flat, jacobian, self.data.seen)
        return torch.stack([parts[name] for name in self.data.signals]).sum(0)

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
        layout = self.simulator.layout
        expected, rows = layout.split(flat.clamp_min(SMALLEST_MEAN)), layout.split(jacobian.movedim(-1, 0))
        return {
            signal: self._information_of(signal, z, expected[signal], rows[signal], which)
            for signal, which in seen.items()
            if bool(which.any())
        }

    def _information_of(self, signal: str, z: Tensor, mean: Tensor, rows: Tensor, seen: Tensor) -> Tensor:
        error, study = (self.error(z) or {}).get(signal), self.simulator.study
        stream, tested = study.stream(signal), self.data.tested.get(signal)
        names = tuple(n for n in (study.dispersion(signal), study.overdispersion(signal)) if n is not None)
        at = torch.tensor([self.simulator.space.slice_of(name).start for name in names], device=z.device)
        few, prior = z.index_select(-1, at), self.simulator.space.subset(names)

        def log_variance(point: Tensor) -> Tensor:
            return variance(stream, mean, prior.to_theta(point), error, tested).log()

        chosen = seen.to(mean)
        weight = chosen / log_variance(few).exp()
        out = torch.einsum("dpws,pws,epws->pde", rows, weight, rows)
        # the two coordinates that shape the variance: information (d log variance)^2 / 2
        basis = torch.eye(len(names), dtype=z.dtype, device=z.device)
        slopes = torch.stack([torch.func.jvp(log_variance, (few,), (e.expand_as(few),))[1] for e in basis])
        out[:, at[:, None], at] += 0.5 * torch.einsum("apws,ws,bpws->pab", slopes, chosen, slopes)
        return out


@dataclass(frozen=True, eq=False)
class Joint:
    """Log posterior, up to a constant, of parameters and errors `[P, D + K]`; both have N(0, I) before any figure.

    Attributes:
        inference: with its local mean. errors: that the figures share. compiled: the likelihood, if the local mean is bent.
    """

    inference: Inference
    errors: CommonError
    compiled: Emulated | None

    def __call__(self, both: Tensor) -> Tensor:
        """`[P]`, differentiable once."""
        z, e = self._split(both)
        seen = self.inference._seen
        found = (
            self.compiled(z, e) if self.compiled else seen.log_likelihood(z, *self.inference.off_by(z, self.errors, e))
        )
        return found - 0.5 * both.square().sum(-1)

    def with_slope(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """`[P]` and its derivative `[P, D + K]`, without a graph."""
        if self.compiled is None:
            return with_slope(self.__call__, both)
        both = both.detach()
        value, to_z, to_errors = self.compiled.with_slopes(*self._split(both))
        return value - 0.5 * both.square().sum(-1), torch.cat([to_z, to_errors], -1) - both

    def _split(self, both: Tensor) -> tuple[Tensor, ...]:
        return both.split([both.shape[-1] - self.errors.count, self.errors.count], -1)
