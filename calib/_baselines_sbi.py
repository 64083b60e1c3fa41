"""Neural and sampling baselines of the sbi package, by one call on the simulator and priors of a calibration.

Needs the extra `sbi` (`pip install 'posterity[sbi]'`). The methods see draws of the data alone: neither the distribution of the data
nor derivatives. Defaults of sbi are kept. The neural ones are amortised: `train_baseline` trains a network once, for any data.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calib._noise import derive_seed
from calib._observed import Likelihood
from calib._space import ParameterSpace

Simulator = Callable[[Mapping[str, Tensor], int], Tensor]
AMORTISED = ("npe", "nle", "nre", "fmpe")  # one network serves any data
BASELINES = (*AMORTISED, "smc-abc")
BLOCK = 20_000  # simulations a call


@dataclass(frozen=True, eq=False)
class Baseline:
    """Draws of a baseline.

    Attributes:
        theta: each parameter by name, `[S, *event]`.
        simulations: spent.
        dropped: simulations left out because they were not finite.
        note: what was run.
    """

    theta: dict[str, Tensor] = field(repr=False)
    simulations: int
    dropped: int
    note: str


@dataclass(frozen=True, eq=False)
class TrainedBaseline:
    """An amortised baseline whose network has learnt, to be asked for draws given any data.

    Attributes:
        name: one of `AMORTISED`.
        space: parameters and priors.
        posterior: of sbi.
        simulations: spent.
        dropped: simulations left out because they were not finite.
    """

    name: str
    space: ParameterSpace = field(repr=False)
    posterior: Any = field(repr=False)
    simulations: int
    dropped: int

    def draw(self, data: Tensor, draws: int, seed: int) -> Baseline:
        """Draws of the posterior.

        Args:
            data: observed, `[K]`.
            draws: wanted, S.
            seed: of the draws.

        Returns:
            The draws.
        """
        with quiet(derive_seed(seed, 0, f"{self.name}-draw") % 2**31):
            z = self.posterior.sample((draws,), x=data.float(), show_progress_bars=False)
        return Baseline(self.space.to_theta(z.detach().double()), self.simulations, self.dropped, _note(self.name))


def baseline(
    name: str,
    simulator: Simulator,
    space: ParameterSpace,
    data: Tensor,
    *,
    likelihood: Likelihood,
    budget: int,
    draws: int,
    seed: int,
) -> Baseline:
    """Run a baseline on the arguments of `calibrate`.

    The networks learn on the standard normal coordinates of the space, where every prior is N(0, I): at least as easy for
    them as the parameters' own units.

    Args:
        name: "npe", "nle", "nre" (with slice sampling for the last two), "fmpe" or "smc-abc".
        simulator: as in `calibrate`.
        space: parameters and priors.
        data: observed, `[K]`.
        likelihood: distribution of the data given outputs; drawn from, never evaluated.
        budget: simulations.
        draws: posterior draws wanted, S.
        seed: of everything random.

    Returns:
        The draws.

    Raises:
        ValueError: there is no such baseline.
        ModuleNotFoundError: sbi is not installed.
    """
    _check(name, BASELINES)
    if name in AMORTISED:
        trained = train_baseline(name, simulator, space, likelihood=likelihood, budget=budget, seed=seed)
        return trained.draw(data, draws, seed)
    source = _Source(simulator, space, likelihood, seed)
    with quiet(derive_seed(seed, 0, name) % 2**31):
        z = _smc_abc(source, data.float(), budget, draws)
    return Baseline(space.to_theta(z.detach().double()), budget, source.dropped, _note(name))


def train_baseline(
    name: str, simulator: Simulator, space: ParameterSpace, *, likelihood: Likelihood, budget: int, seed: int
) -> TrainedBaseline:
    """Train an amortised baseline on draws of the prior.

    Args:
        name: one of `AMORTISED`.
        simulator: as in `calibrate`.
        space: parameters and priors.
        likelihood: distribution of the data given outputs; drawn from, never evaluated.
        budget: simulations.
        seed: of simulations and training.

    Returns:
        The trained baseline.

    Raises:
        ValueError: there is no such baseline, or it cannot be trained once for any data.
        ModuleNotFoundError: sbi is not installed.
    """
    _check(name, AMORTISED)
    source = _Source(simulator, space, likelihood, seed)
    with quiet(derive_seed(seed, 0, name) % 2**31):
        posterior = _train(name, source, budget)
    return TrainedBaseline(name, space, posterior, budget, source.dropped)


def _check(name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        kind = "baseline" if known == BASELINES else "amortised baseline"
        raise ValueError(f"no {kind} is called {name!r}: choose from {', '.join(known)}.")
    if importlib.util.find_spec("sbi") is None:
        raise ModuleNotFoundError(
            "The baselines need sbi, which is not installed; install the extra: pip install 'posterity[sbi]'."
        )


def _note(name: str) -> str:
    return f"sbi {importlib.metadata.version('sbi')} {name}"


class _Source:
    """Data simulated at `z [N, D]`, as sbi asks for it: `[N, K]`, NaN where the outputs are not finite."""

    def __init__(self, simulator: Simulator, space: ParameterSpace, likelihood: Likelihood, seed: int) -> None:
        self.simulator, self.space, self.likelihood, self.seed = simulator, space, likelihood, seed
        self.calls = self.dropped = 0

    def __call__(self, z: Tensor) -> Tensor:
        rows = []
        with torch.no_grad():
            for part in z.split(BLOCK):
                self.calls += 1
                seed = derive_seed(self.seed, self.calls, "baseline-simulate")
                outputs = self.simulator(self.space.to_theta(part.double()), seed)
                fine = torch.isfinite(outputs).all(1)
                drawn = self.likelihood(outputs[fine]).sample().float()
                rows.append(
                    drawn.new_full((len(part), drawn.shape[1]), torch.nan).index_copy(0, fine.nonzero()[:, 0], drawn)
                )
        x = torch.cat(rows)
        self.dropped += int((~torch.isfinite(x).all(1)).sum())
        return x


@contextmanager
def quiet(seed: int) -> Iterator[None]:
    """Seed sbi's random numbers, give it single precision, and keep its progress bars and warnings off the terminal."""
    kept, state = torch.get_default_dtype(), np.random.get_state()  # noqa: NPY002 (sbi's slice sampler draws from it)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.set_default_dtype(torch.float32)  # sbi's networks are single precision
        logging.disable(logging.WARNING)
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                yield
        finally:
            logging.disable(logging.NOTSET)
            torch.set_default_dtype(kept)
            np.random.set_state(state)  # noqa: NPY002


class SilentTracker:
    """A tracker of sbi that writes nothing; without one a folder of logs grows where the command was given."""

    log_dir: str | None = None

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Nothing."""

    def log_params(self, params: dict[str, Any]) -> None:
        """Nothing."""

    def add_figure(self, name: str, figure: Any, step: int | None = None) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""


def _prior(dim: int) -> torch.distributions.MultivariateNormal:
    return torch.distributions.MultivariateNormal(torch.zeros(dim), torch.eye(dim))


def _smc_abc(source: _Source, data: Tensor, budget: int, draws: int) -> Tensor:
    from sbi import inference

    particles = min(1000, max(50, budget // 20))
    method = inference.SMCABC(source, _prior(source.space.dim), simulation_batch_size=particles)
    found = method(
        data[None],
        num_particles=particles,
        num_initial_pop=particles,
        num_simulations=budget,
        epsilon_decay=0.8,
        kde=False,
    )
    population = torch.as_tensor(found)
    return population[torch.randint(len(population), (draws,))]


def _train(name: str, source: _Source, budget: int) -> Any:
    from sbi import inference

    prior = _prior(source.space.dim)
    z = prior.sample((budget,))
    x = source(z)
    good = torch.isfinite(x).all(1)
    z, x = z[good], x[good]
    trainers: dict[str, Any] = {
        "npe": inference.NPE,
        "nle": inference.NLE,
        "nre": inference.NRE,
        "fmpe": inference.FMPE,
    }
    trainer = trainers[name](prior=prior, show_progress_bars=False, tracker=SilentTracker())
    network = trainer.append_simulations(z, x).train()
    if name in ("nle", "nre"):
        settings = {"num_chains": 100, "thin": 1, "warmup_steps": 100}
        return trainer.build_posterior(
            network, sample_with="mcmc", mcmc_method="slice_np_vectorized", mcmc_parameters=settings
        )
    return trainer.build_posterior(network)
