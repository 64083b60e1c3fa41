"""Neural and sampling baselines of the sbi package, by one call on the simulator and priors of a calibration.

Needs the extra `sbi` (`pip install 'posterity[sbi]'`). The methods see draws of the data alone: neither the law of the data
nor derivatives. Defaults of sbi are kept.
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

from calib._calibration import Likelihood
from calib._noise import derive_seed
from calib._space import ParameterSpace

BASELINES = ("npe", "nle", "nre", "fmpe", "smc-abc")
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


def baseline(
    name: str,
    simulator: Callable[[Mapping[str, Tensor], int], Tensor],
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
        likelihood: law of the data given outputs; drawn from, never evaluated.
        budget: simulations.
        draws: posterior draws wanted, S.
        seed: of everything random.

    Returns:
        The draws.

    Raises:
        ValueError: there is no such baseline.
        ModuleNotFoundError: sbi is not installed.
    """
    if name not in BASELINES:
        raise ValueError(f"no baseline is called {name!r}: choose from {', '.join(BASELINES)}.")
    if importlib.util.find_spec("sbi") is None:
        raise ModuleNotFoundError(
            "The baselines need sbi, which is not installed; install the extra: pip install 'posterity[sbi]'."
        )

    calls = dropped = 0

    def simulate(z: Tensor) -> Tensor:
        nonlocal calls, dropped
        rows = []
        with torch.no_grad():
            for part in z.split(BLOCK):
                calls += 1
                outputs = simulator(space.to_theta(part.double()), derive_seed(seed, calls, "baseline-simulate"))
                fine = torch.isfinite(outputs).all(1)
                drawn = likelihood(outputs[fine]).sample().float()
                rows.append(
                    drawn.new_full((len(part), drawn.shape[1]), torch.nan).index_copy(0, fine.nonzero()[:, 0], drawn)
                )
        x = torch.cat(rows)
        dropped += int((~torch.isfinite(x).all(1)).sum())
        return x

    with quiet(derive_seed(seed, 0, name) % 2**31):
        z = _run(name, simulate, space.dim, data.float(), budget, draws)
    return Baseline(
        space.to_theta(z.detach().double()), budget, dropped, f"sbi {importlib.metadata.version('sbi')} {name}"
    )


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


class _Silent:
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


def _run(name: str, simulate: Callable[[Tensor], Tensor], dim: int, data: Tensor, budget: int, draws: int) -> Tensor:
    from sbi import inference

    prior = torch.distributions.MultivariateNormal(torch.zeros(dim), torch.eye(dim))
    if name == "smc-abc":
        particles = min(1000, max(50, budget // 20))
        method = inference.SMCABC(simulate, prior, simulation_batch_size=particles)
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
    z = prior.sample((budget,))
    x = simulate(z)
    good = torch.isfinite(x).all(1)
    z, x = z[good], x[good]
    trainers: dict[str, Any] = {
        "npe": inference.NPE,
        "nle": inference.NLE,
        "nre": inference.NRE,
        "fmpe": inference.FMPE,
    }
    trainer = trainers[name](prior=prior, show_progress_bars=False, tracker=_Silent())
    network = trainer.append_simulations(z, x).train()
    if name in ("nle", "nre"):
        settings = {"num_chains": 100, "thin": 1, "warmup_steps": 100}
        posterior = trainer.build_posterior(
            network, sample_with="mcmc", mcmc_method="slice_np_vectorized", mcmc_parameters=settings
        )
    else:
        posterior = trainer.build_posterior(network)
    return posterior.sample((draws,), x=data, show_progress_bars=False)
