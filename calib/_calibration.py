"""What a calibration gives back: a distribution over parameters that can be drawn from, evaluated, saved and read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from calib._anneal import move, systematic
from calib._calibration_check import check_calibration
from calib._calibration_file import read_calibration, write_calibration
from calib._chart import Chart
from calib._flows import Flow
from calib._idata import Tree, to_inference_data
from calib._local_model import LocalModel, Runs
from calib._reuse import Source, posterior
from calib._space import ParameterSpace

if TYPE_CHECKING:
    from calib.diagnostics import Page

Likelihood = Callable[[Tensor], torch.distributions.Distribution]
SPARE = 3  # draws of the flow for each corrected draw
CLOSE = 0.5  # effective share of the flow's draws at which few moves are enough to part copies
SWEEPS = (2, 40)  # moves of each corrected draw, of a flow that is close and one that is not


@dataclass(frozen=True, eq=False)
class Calibration:
    """A fitted posterior.

    Attributes:
        space: the parameters.
        flow: q(z).
        data: what was calibrated to; None for a Pyro model.
        runs: the simulations kept, in the coordinates of `Chart(space)`; None for a fit that keeps none.
        scale: `[D, D]`, of the local model of those runs.
        report: plain data: settings, simulations, rounds, k-hat and its verdict in words, seconds, versions.
        source: the likelihood of outputs, what corrected draws need; None after `load` without one.
    """

    space: ParameterSpace
    flow: Flow
    data: Tensor | None = field(repr=False)
    runs: Runs | None = field(repr=False)
    scale: Tensor | None = field(repr=False)
    report: dict[str, Any] = field(repr=False)
    source: Source | None = field(default=None, repr=False)

    @property
    def can_correct(self) -> bool:
        """Whether runs and likelihood are at hand, so that `sample(..., corrected=True)` works."""
        return self.source is not None and self.runs is not None

    @property
    def verdict(self) -> str:
        """Whether the posterior can be believed, in words."""
        return str(self.report["verdict"])

    def sample(self, count: int, generator: torch.Generator, *, corrected: bool = False) -> dict[str, Tensor]:
        """Draws of the parameters in their own units.

        Args:
            count: number of draws, S.
            generator: source of randomness.
            corrected: False: independent draws of the flow, whose density is `log_prob`. True: draws of the flow weighted
                by what the kept simulations say of the posterior, resampled, and moved under it; no simulation is made.

        Returns:
            Each parameter by name, `[S, *event]`.

        Raises:
            ValueError: correction was asked for and runs or likelihood are missing.
        """
        return self.space.to_theta(self.sample_z(count, generator, corrected=corrected))

    def sample_z(self, count: int, generator: torch.Generator, *, corrected: bool = False) -> Tensor:
        """`sample` in standard normal coordinates, `[S, D]`."""
        if not corrected:
            return self.flow.sample(count, generator)
        if self.source is None or self.runs is None:
            raise ValueError(
                "corrected draws need the kept runs and their likelihood, and this calibration lacks them: pass likelihood= and "
                "data= to Calibration.load, or calibrate with method='reuse'."
            )
        chart = self.source.chart
        weight = self.report["weight"] * self.report["loss_weight"]
        target = posterior(self.source, LocalModel(self.runs, self.scale), weight)
        with torch.no_grad():
            z, log_q = self.flow.sample_with_log_prob(self.flow.noise(SPARE * count, generator))
            x = chart.to_x(z.double())
            ratio = target(x) - chart.log_slope(x) - log_q.double()
        ratio = torch.where(torch.isfinite(ratio), ratio, -1e300)
        share = torch.softmax(ratio, 0)
        close = float(1 / (share**2).sum()) >= CLOSE * len(share)
        x = x[systematic(share, count, generator)]
        x = move(x, target(x), target, SWEEPS[0] if close else SWEEPS[1], generator)[0]
        return chart.to_z(x[torch.randperm(count, generator=generator)])

    def log_prob(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Log density of the flow at parameters in their own units.

        Args:
            theta: every parameter by name, `[*batch, *event]`.

        Returns:
            `[*batch]`, per unit of theta.
        """
        z = self.space.to_z(theta).to(self.flow.like)
        slope = sum(self.space.log_slope(z).values())
        with torch.no_grad():
            flat = z.reshape(-1, self.space.dim)
            return self.flow.log_prob(flat).reshape(z.shape[:-1]) - slope

    def to_arviz(self, draws: int = 1000, *, seed: int = 0, corrected: bool = False) -> Tree:
        """Posterior draws as ArviZ groups.

        Args:
            draws: number of draws.
            seed: of the draws.
            corrected: as in `sample`.

        Returns:
            `InferenceData` with groups posterior, prior, sample_stats (`log_q`, density of the flow in z) and, if known,
            observed_data. Draws are independent, so they are one chain.
        """
        generator = torch.Generator().manual_seed(seed)
        z = self.sample_z(draws, generator, corrected=corrected)
        with torch.no_grad():
            log_q = self.flow.log_prob(z.to(self.flow.like))
        prior = self.space.sample_prior(draws, generator, dtype=z.dtype)
        groups: dict[str, dict[str, Any]] = {
            "posterior": {name: value[None] for name, value in self.space.to_theta(z).items()},
            "prior": {name: value[None] for name, value in prior.items()},
            "sample_stats": {"log_q": log_q[None]},
        }
        if self.data is not None:
            groups["observed_data"] = {"data": self.data}
        coords = {f"{p.name}_entry": list(p.labels) for p in self.space.parameters if p.labels}
        dims = {p.name: [f"{p.name}_entry"] for p in self.space.parameters if p.labels}
        return to_inference_data(groups, coords=coords, dims=dims)

    def check(
        self,
        simulator: Callable[[Mapping[str, Tensor], int], Tensor],
        likelihood: Likelihood,
        *,
        draws: int = 200,
        seed: int = 0,
    ) -> Page:
        """Ask whether the posterior can be believed: misspecification, priors, k-hat, posterior predictive.

        What needs many calibrations (ranks, coverage) is left out: see docs/diagnostics.md.

        Args:
            simulator: as it was given to `calibrate`.
            likelihood: law of the data given outputs.
            draws: simulations at draws of the prior, and as many at draws of the posterior.
            seed: of draws and simulations.

        Returns:
            The page: `print(page.text())`, or `page.save("check.html")`.

        Raises:
            ValueError: fewer than 20 simulations were finite, or the calibration keeps no data.
        """
        return check_calibration(self, simulator, likelihood, draws, seed)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a folder: `calibration.safetensors` (whole by itself) and `calibration.json`, a copy for people.

        Neither holds code: simulator and likelihood are not saved.

        Raises:
            ValueError: a prior cannot be written as plain data.
        """
        write_calibration(path, self.space, self.flow, self.data, self.runs, self.scale, self.report)

    @staticmethod
    def load(
        path: str | os.PathLike[str], *, likelihood: Likelihood | None = None, data: Tensor | None = None
    ) -> Calibration:
        """Read what `save` wrote.

        Args:
            path: the folder.
            likelihood: law of the data given outputs, as it was given to `calibrate`; without it the flow can be drawn from
                but draws cannot be corrected.
            data: what was calibrated to, if it differs from what was stored.

        Returns:
            The calibration.

        Raises:
            CheckpointError: the file is missing, damaged, or of another version.
        """
        space, flow, stored, runs, scale, report = read_calibration(path)
        kept = stored if data is None else data
        source = None
        if runs is not None and likelihood is not None and kept is not None:
            source = Source(_no_simulator, evaluate(likelihood, kept), Chart(space), "score", 1)
        return Calibration(space, flow, kept, runs, scale, report, source)


def _no_simulator(x: Tensor, seed: int) -> Tensor:
    raise ValueError("a calibration read from a file has no simulator; calibrate again to simulate.")


def evaluate(likelihood: Likelihood, data: Tensor) -> Callable[[Tensor], Tensor]:
    """Log likelihood of outputs `[P, M] -> [P]` from the law of the data.

    Between runs outputs are modelled and may leave the range that the law asks for (a share just below 0): such rows are
    evaluated without torch's checks, and count as impossible where that gives no number.

    Raises (when called):
        ValueError: the law does not give one value a row.
    """

    def log_likelihood(outputs: Tensor) -> Tensor:
        try:
            value = likelihood(outputs).log_prob(data.to(outputs))
        except ValueError:
            with _unchecked():
                law = likelihood(outputs)
                if not bool(torch.as_tensor(law.support.check(data.to(outputs))).any()):  # type: ignore[union-attr]
                    raise  # the data themselves are not what the law is of
                value = law.log_prob(data.to(outputs))
        if value.shape != outputs.shape[:1]:
            raise ValueError(
                f"the likelihood gave log densities of shape {tuple(value.shape)} for outputs {tuple(outputs.shape)}, expected "
                "one value a row: make the data one event, for instance with torch.distributions.Independent(..., 1)."
            )
        return value

    return log_likelihood


@contextmanager
def _unchecked() -> Iterator[None]:
    """Distributions take any parameters in here."""
    kept = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(kept)
