"""What a calibration gives back: a distribution over parameters that can be drawn from, evaluated, saved and read."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from calib._anneal import move, systematic
from calib._arguments import whole_number
from calib._calibration_check import check_calibration
from calib._calibration_file import read_calibration, write_calibration
from calib._coordinates import Coordinates
from calib._flows import Flow
from calib._hamiltonian import Chains
from calib._idata import Tree, to_inference_data
from calib._local_model import Runs
from calib._methods import Fitted
from calib._noise import derive_seed
from calib._observed import Evaluate, FirstColumn, Likelihood, as_data
from calib._plan import Plan
from calib._pyro_density import PyroDensity
from calib._pyro_space import DependentSpace
from calib._reuse import Source, posterior
from calib._short_repr import one_line, one_screen
from calib._space import ParameterSpace
from calib._verdict import BELIEVED, FAILED, CalibrationVerdict, corrected_passes, fit_passes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calib.diagnostics import Page

SPARE = 3  # draws of the flow for each corrected draw
CLOSE = 0.5  # effective share of the flow's draws at which few moves are enough to part copies
SWEEPS = (2, 40)  # moves of each corrected draw, of a flow that is close and one that is not


@dataclass(frozen=True, eq=False)
class Origin:
    """How a calibration was made, from which it can go on (`continue_calibration`, `update`)."""

    plan: Plan
    fitted: Fitted


@dataclass(frozen=True, eq=False)
class Calibration:
    """A fitted posterior.

    Attributes:
        space: the parameters.
        flow: q(z).
        data: what was calibrated to; None for a Pyro model.
        runs: the simulations kept, in the coordinates of `Coordinates(space)`; None for a fit that keeps none.
        scale: `[D, D]`, of the local model of those runs.
        report: plain data: settings, simulations, rounds, k-hat, the verdict, failures by what was raised, seconds, versions.
        source: the likelihood of outputs, what corrected draws need; None after `load` without one.
        chains: the draws, if chains made them; `sample` then takes from these, and the flow only gives `log_prob`.
        density: the Pyro model; None for a simulator, and after `load`.
        origin: how it was made; None after `load`, and for a copy by pickle.

    Examples:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> from calib import calibrate
        >>> def noisy(theta, seed):
        ...     noise = torch.randn(len(theta["x"]), 3, generator=torch.Generator().manual_seed(seed))
        ...     return theta["x"][:, None] + 0.1 * noise
        ...
        >>> found = calibrate(
        ...     noisy, {"x": Normal(0.0, 1.0)}, [1.0, 1.2, 0.9], likelihood=lambda out: Independent(Normal(out, 1.0), 1), budget=300)
        >>> found
        Calibration(abc-regression, 1 parameter, 300 simulations, usable)
        >>> found.sample(5)['x'].shape
        torch.Size([5])
        >>> found.summary().columns.tolist()[:5]
        ['mean', 'sd', '5 %', '50 %', '95 %']
    """

    space: ParameterSpace
    flow: Flow
    data: Tensor | None = field(repr=False)
    runs: Runs | None = field(repr=False)
    scale: Tensor | None = field(repr=False)
    report: dict[str, Any] = field(repr=False)
    source: Source | None = field(default=None, repr=False)
    chains: Chains | None = field(default=None, repr=False)
    density: PyroDensity | None = field(default=None, repr=False)
    origin: Origin | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return one_line(self)

    def __str__(self) -> str:
        return one_screen(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The table in a notebook, too."""
        printer.text(repr(self) if cycle else str(self))

    @property
    def can_correct(self) -> bool:
        """Whether runs and likelihood are at hand, so that `sample(..., corrected=True)` works."""
        return self.source is not None and self.runs is not None

    @property
    def verdict(self) -> CalibrationVerdict:
        """Whether the posterior can be believed: `.state`, `.reasons`, `.advice`, `.evidence`; `str` gives a text."""
        return CalibrationVerdict.from_dict(self.report["verdict"])

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        *,
        seed: int = 0,
        corrected: bool | None = None,
    ) -> dict[str, Tensor]:
        """Draws of the parameters in their own units.

        Args:
            count: number of draws, S; of chains none is taken twice unless they hold fewer.
            generator: source of randomness; one made from `seed` if None.
            seed: of the draws, where no generator is given.
            corrected: False: independent draws of the flow, whose density is `log_prob`. True: draws of the flow weighted
                by what the kept simulations say of the posterior, resampled, and moved under it; no simulation is made.
                None: corrected where the verdict asks for it. Draws of chains need no correction.

        Returns:
            Each parameter by name, `[S, *event]`.

        Raises:
            ValueError: correction is needed and runs or likelihood are missing.
        """
        return self.space.to_theta(self.sample_z(count, generator, seed=seed, corrected=corrected))

    def sample_z(
        self,
        count: int,
        generator: torch.Generator | None = None,
        *,
        seed: int = 0,
        corrected: bool | None = None,
    ) -> Tensor:
        """`sample` in standard normal coordinates, `[S, D]`."""
        count = whole_number("count", count, least=1)
        if generator is None:
            generator = torch.Generator().manual_seed(derive_seed(whole_number("seed", seed), 0, "sample"))
        if self.chains is not None:
            flat = self.chains.z.flatten(0, 1)
            if count <= len(flat):
                return self.chains.draws(count, generator)
            return flat[torch.randint(len(flat), (count,), generator=generator)]
        if corrected is None:
            evidence = self.verdict.evidence
            as_they_are = fit_passes(evidence) and evidence.failed <= FAILED
            corrected = self.runs is not None and not as_they_are and corrected_passes(evidence)
        if not corrected:
            return self.flow.sample(count, generator)
        if self.source is None or self.runs is None:
            raise ValueError(
                "corrected draws need the kept runs and their likelihood, and this calibration lacks them: pass likelihood= and "
                "data= to Calibration.load, calibrate with method='emulated-smc', or take draws of the flow by corrected=False."
            )
        coordinates = self.source.coordinates
        weight = self.report["weight"] * self.report["loss_weight"]
        target = posterior(self.source, self.source.model(self.runs, self.scale), weight)
        with torch.no_grad():
            z, log_q = self.flow.sample_with_log_prob(self.flow.noise(SPARE * count, generator))
            x = coordinates.to_x(z.double())
            ratio = target(x) - coordinates.log_slope(x) - log_q.double()
        ratio = torch.where(torch.isfinite(ratio), ratio, -1e300)
        share = torch.softmax(ratio, 0)
        close = float(1 / (share**2).sum()) >= CLOSE * len(share)
        x = x[systematic(share, count, generator)]
        x = move(x, target(x), target, SWEEPS[0] if close else SWEEPS[1], generator)[0]
        return coordinates.to_z(x[torch.randperm(count, generator=generator)])

    def __getstate__(self) -> dict[str, Any]:
        """Everything; without the source where simulator or likelihood cannot be pickled, as after `load` without one."""
        state = dict(self.__dict__) | {"origin": None}
        if self.source is not None:
            state["source"] = replace(self.source, store=None)
        try:
            pickle.dumps(state["source"])
        except (pickle.PicklingError, AttributeError, TypeError):
            state["source"] = None
        return state

    def log_prob(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Log density of the flow at parameters in their own units.

        Args:
            theta: every parameter by name, `[*batch, *event]`.

        Returns:
            `[*batch]`, per unit of theta; minus infinity at and outside the bounds of a prior.
        """
        z = self.space.to_z(theta).to(self.flow.like)
        inside = self.space.inside(theta) & torch.isfinite(z).all(-1)
        z = torch.where(inside[..., None], z, 0.0)  # one row outside must not reach the others through the flow
        slope = sum(self.space.log_slope(z).values())
        with torch.no_grad():
            flat = z.reshape(-1, self.space.dim)
            density = self.flow.log_prob(flat).reshape(z.shape[:-1]) - slope
        return torch.where(inside, density, -math.inf)

    def summary(self, draws: int = 4000, *, seed: int = 0) -> pd.DataFrame:
        """The posterior as a table.

        Args:
            draws: of the posterior.
            seed: of the draws.

        Returns:
            One row a coordinate: mean, sd, 5 %, 50 % and 95 % quantiles, mean and sd of the prior, unit, and whether the data
            moved it from its prior. The column `moved` is left out where that cannot be said; `.attrs["moved"]` then says why.
        """
        generator = torch.Generator().manual_seed(derive_seed(seed, 0, "summary-prior"))
        flat = self.space.flatten(self.sample(draws, seed=seed)).double()
        prior = self.space.flatten(self.space.sample_prior(draws, generator, dtype=torch.float64))
        low, median, high = flat.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64), 0).tolist()
        still = self.report.get("unmoved")
        table = pd.DataFrame(
            {
                "mean": flat.mean(0).tolist(), "sd": flat.std(0).tolist(), "5 %": low, "50 %": median, "95 %": high,
                "prior mean": prior.mean(0).tolist(), "prior sd": prior.std(0).tolist(),
                "unit": [p.unit for p in self.space.parameters for _ in range(p.size)],
            },
            index=pd.Index(self.space.names, name="parameter"),
        )  # fmt: skip
        if still is None:
            believed = self.verdict.state in BELIEVED
            why = (
                "its prior is no standard density, or draws are few"
                if believed
                else f"the verdict is {self.verdict.state}"
            )
            table.attrs["moved"] = f"Whether the data moved a parameter cannot be said: {why}."
        else:
            table["moved"] = [name not in still for name in self.space.names]
        return table

    def plot(self, draws: int = 2000, *, seed: int = 0) -> Figure:
        """Posterior and prior of each coordinate and of pairs of them.

        Args:
            draws: of each.
            seed: of the draws.

        Returns:
            The figure; `.savefig(path)` writes it.
        """
        from calib._posterior_plots import plot_pairs  # matplotlib takes seconds to import

        generator = torch.Generator().manual_seed(derive_seed(seed, 0, "plot-prior"))
        prior = self.space.flatten(self.space.sample_prior(draws, generator, dtype=torch.float64))
        return plot_pairs(self.space.flatten(self.sample(draws, seed=seed)), self.space.names, prior)

    def to_arviz(self, draws: int = 1000, *, seed: int = 0, corrected: bool | None = None) -> Tree:
        """Posterior draws as ArviZ groups; chains are kept as chains, all their draws.

        Args:
            draws: number of draws; of the prior only, where there are chains.
            seed: of the draws.
            corrected: as in `sample`.

        Returns:
            `InferenceData` with groups posterior, prior, sample_stats (`log_q`, density of
            the flow in z; of chains `lp`, `energy`, `diverging`) and, if known, observed_data.
        """
        generator = torch.Generator().manual_seed(seed)
        if self.chains is not None:
            return self._chains_to_arviz(draws, generator)
        z = self.sample_z(draws, generator, corrected=corrected)
        with torch.no_grad():
            log_q = self.flow.log_prob(z.to(self.flow.like))
        prior = self.space.sample_prior(draws, generator, dtype=z.dtype)
        groups: dict[str, dict[str, Any]] = {
            "posterior": {name: value[None] for name, value in self.space.to_theta(z).items()},
            "prior": {name: value[None] for name, value in prior.items()},
            "sample_stats": {"log_q": log_q[None]},
        }
        return self._as_groups(groups)

    def _chains_to_arviz(self, draws: int, generator: torch.Generator) -> Tree:
        assert self.chains is not None
        groups: dict[str, dict[str, Any]] = {
            "posterior": self.space.to_theta(self.chains.z.transpose(0, 1)),
            "sample_stats": {
                "lp": self.chains.log_density.mT, "energy": self.chains.energy.mT, "diverging": self.chains.diverging.mT,
            },
        }  # fmt: skip
        try:
            prior = self.space.sample_prior(draws, generator, dtype=torch.float64)
            groups["prior"] = {name: value[None] for name, value in prior.items()}
        except ValueError:
            pass  # an improper prior has no draws
        return self._as_groups(groups)

    def _as_groups(self, groups: dict[str, dict[str, Any]]) -> Tree:
        if self.density is not None:
            groups["observed_data"] = self.density.observed()
        elif self.data is not None:
            groups["observed_data"] = {"data": self.data}
        coords = {f"{p.name}_entry": list(p.labels) for p in self.space.parameters if p.labels}
        dims = {p.name: [f"{p.name}_entry"] for p in self.space.parameters if p.labels}
        return to_inference_data(groups, coords=coords, dims=dims)

    def predict(self, draws: int = 200, *, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Run the Pyro model at draws of the posterior.

        Args:
            draws: number of draws, S.
            seed: of draws and data.

        Returns:
            Data drawn anew, and values of `pyro.deterministic`, each by site, `[S, *site]`; masked data are NaN.

        Raises:
            ValueError: the calibration is not of a Pyro model, or was read from a file.
        """
        if self.density is None:
            raise ValueError("this calibration holds no Pyro model to run: run the simulator at `sample(...)` instead.")
        return self.density.predict(self.sample(draws, seed=seed), derive_seed(seed, 0, "predict"))

    def check(
        self,
        simulator: Callable[[Mapping[str, Tensor], int], Tensor] | None = None,
        likelihood: Likelihood | None = None,
        *,
        draws: int = 200,
        seed: int = 0,
    ) -> Page:
        """Ask whether the posterior can be believed: misspecification, priors, k-hat, posterior predictive.

        What needs many calibrations (ranks, coverage) is left out: see docs/diagnostics.md.

        Args:
            simulator: as it was given to `calibrate`; None for a Pyro model, which is run itself.
            likelihood: distribution of the data given outputs; None for a Pyro model.
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
        if isinstance(self.space, DependentSpace):
            raise ValueError(
                "priors that depend on each other cannot be written as plain data: save the draws by to_arviz() and "
                "save_inference_data(), and calibrate again for the rest."
            )
        write_calibration(path, self.space, self.flow, self.data, self.runs, self.scale, self.report, self.chains)

    @staticmethod
    def load(path: str | os.PathLike[str], *, likelihood: Likelihood | None = None, data: Any = None) -> Calibration:
        """Read what `save` wrote.

        Args:
            path: the folder.
            likelihood: distribution of the data given outputs, as it was given to `calibrate`; without it the flow can be drawn from
                but draws cannot be corrected.
            data: what was calibrated to, if it differs from what was stored.

        Returns:
            The calibration.

        Raises:
            CheckpointError: the file is missing, damaged, or of another version.
        """
        space, flow, stored, runs, scale, report, chains = read_calibration(path)
        kept = stored if data is None else as_data(data)
        value: Evaluate | FirstColumn | None = None
        if report.get("output") == "log likelihood":
            value = FirstColumn()
        elif likelihood is not None and kept is not None:
            value = Evaluate(likelihood, kept)
        source = None
        if runs is not None and value is not None:
            source = Source(
                _no_simulator, value, Coordinates(space), "score", 1, density=isinstance(value, FirstColumn)
            )
        return Calibration(space, flow, kept, runs, scale, report, source, chains)


def _no_simulator(x: Tensor, seed: int) -> Tensor:
    raise ValueError("a calibration read from a file has no simulator; calibrate again to simulate.")
