"""The study as a problem for `calib`: likelihood with either gradient, and its parts for the warm start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from calib import Gradient, Problem, log_likelihood
from calib._local_mean import Chart, LocalMean, chance_covariance, identity
from calib._warm_start import Outputs
from experiments.nz_calibration._data import Data
from experiments.nz_calibration._figures import DISTRICTS
from experiments.nz_calibration._model import (
    SMALLEST_MEAN,
    Simulate,
    Simulator,
    model,
    variance,
)
from experiments.nz_calibration._observation import PLACES, Expected
from experiments.nz_calibration._seen import Seen, make_seen
from experiments.nz_calibration._signals import AREAS, SIGNALS

COUNTRY_BATCH = 2  # runs of the larger population at once: one a core


def people_per_agent(simulator: Simulator, weeks: int) -> Tensor:
    """`[M]` people an agent stands for, for each expected count: of its district, or of the whole country."""
    people = torch.as_tensor(simulator.population.people_per_agent, dtype=torch.float64)
    size = torch.as_tensor(simulator.population.region_size, dtype=torch.float64)
    country = (people * size).sum() / size.sum()
    share = people * size
    areas = torch.stack([share[list(at)].sum() / size[list(at)].sum() for at in _area_districts()])
    by_axis = {"district": people, "area": areas}
    rows = (by_axis.get(_axis(name), country.expand(len(places))) for name, places in PLACES.items())
    return Expected(*(row.expand(weeks, -1) for row in rows)).flat()


def _axis(name: str) -> str:
    return "district" if name == "infections_district" else SIGNALS[name].axis


def _area_districts() -> list[tuple[int, ...]]:
    return [tuple(DISTRICTS.index(d) for d in districts) for districts, _ in AREAS.values()]


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
        return replace(
            self.problem(fingerprint),
            log_likelihood=lambda z, seed, gradient: seen.log_likelihood(z, *fitted.with_error(z)),
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
                rows.append(simulate(simulator.space.to_theta(part)).flat())
        return torch.cat(rows)

    def likelihood_of_means(self, z: Tensor, flat: Tensor) -> Tensor:
        """`[P]` log likelihood if `flat [P, M]` are the expected counts."""
        seen, error = self._seen, () if self.local is None else self.local.of(self._seen.which).with_error(z)[1:]
        return seen.log_likelihood(z, flat[:, seen.which], *error)

    @cached_property
    def _seen(self) -> Seen:
        return make_seen(self.simulator.space, self.data)

    def _likelihood(self, z: Tensor, simulate: Simulate) -> Tensor:
        sites = log_likelihood(model, self.simulator.space.to_theta(z), simulate, self.data, self.error(z))
        return torch.stack([sites[name] for name in self.data.signals]).sum(0)

    @property
    def fitted_mean(self) -> Tensor:
        """`[M]` which expected counts are compared with figures: the weeks that the likelihood sees, without infections."""
        weeks = self.simulator.weeks
        seen = {name: x.double() for name, x in self.data.seen.items()}
        return Expected(**seen, infections_district=torch.zeros(weeks, len(PLACES["infections_district"]))).flat() > 0

    def error(self, z: Tensor) -> dict[str, Tensor] | None:
        """What is not known of the local mean at `z [P, D]`, relative, by signal `[P, W, places]`: counts as noise of the data."""
        if self.local is None:
            return None
        error = Expected.from_flat(self.local.relative_error_at(z), self.simulator.weeks)
        return {signal: getattr(error, signal) for signal in SIGNALS}

    def _averaged(self, simulate: Simulate, z: Tensor) -> Simulate:
        if self.local is None:
            return simulate
        mean = Expected.from_flat(self.local(z.detach()), self.simulator.weeks)

        def with_mean(theta: Mapping[str, Tensor]) -> Expected:
            run = simulate(theta)
            # value of the mean, derivative of the run; a failed run stays failed
            pairs = ((getattr(run, f.name), getattr(mean, f.name)) for f in fields(Expected))
            return Expected(*(m + (r - r.detach()) for r, m in pairs))

        return with_mean

    def chance(self, z: Tensor) -> Tensor:
        """Covariance `[D, D]` by which chance, in the country and in the local mean, moves the estimate `z [D]`."""
        local, at = self.local, z[None]
        if local is None:
            raise ValueError("chance is told from the runs of a local mean; set `local` first.")
        mean, weeks = local(at), self.simulator.weeks
        expected, theta, error = (
            Expected.from_flat(mean, weeks),
            self.simulator.space.to_theta(at),
            self.error(at) or {},
        )
        places = people_per_agent(self.country or self.simulator, weeks)
        weight = {f.name: torch.zeros_like(getattr(expected, f.name)) for f in fields(Expected)}
        for signal in self.data.signals:
            m = getattr(expected, signal)
            weight[signal] = self.data.seen[signal].to(m) * m**2 / variance(signal, m, theta, error.get(signal))
        information = self._information(at, mean, local.jacobian(at))[0]
        covariance = torch.linalg.inv(torch.eye(len(z)).to(z) + information)
        return chance_covariance(local, z, covariance, Expected(**weight).flat()[0], 1 / local.runs + 1 / places)

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
        weeks = self.simulator.weeks
        expected = Expected.from_flat(flat.clamp_min(SMALLEST_MEAN), weeks)
        rows = Expected.from_flat(jacobian.movedim(-1, 0), weeks)
        return {
            signal: self._information_of(signal, z, getattr(expected, signal), getattr(rows, signal), which)
            for signal, which in seen.items()
            if bool(which.any())
        }

    def _information_of(self, signal: str, z: Tensor, mean: Tensor, rows: Tensor, seen: Tensor) -> Tensor:
        space, error = self.simulator.space, (self.error(z) or {}).get(signal)

        def log_variance(point: Tensor) -> Tensor:
            return variance(signal, mean, space.to_theta(point), error).log()

        chosen = seen.to(mean)
        weight = chosen / log_variance(z).exp()
        out = torch.einsum("dpws,pws,epws->pde", rows, weight, rows)
        # the few coordinates that shape the variance: information (d log variance)^2 / 2
        names = (SIGNALS[signal].dispersion, *(("cluster_size",) if SIGNALS[signal].clustered else ()))
        at = torch.tensor([space.slice_of(name).start for name in names], device=z.device)
        basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)[at]
        slopes = torch.stack([torch.func.jvp(log_variance, (z,), (e.expand_as(z),))[1] for e in basis])
        out[:, at[:, None], at] += 0.5 * torch.einsum("apws,ws,bpws->pab", slopes, chosen, slopes)
        return out
