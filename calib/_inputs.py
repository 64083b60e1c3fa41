"""What the front door was given, read: parameters, data, the simulator as rows of numbers, and a first look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from calib._config import FitError
from calib._coordinates import Coordinates
from calib._noise import derive_seed
from calib._noise_pilot import Pilot, run_noise_pilot
from calib._observed import Evaluate, FirstColumn, Likelihood, as_data
from calib._problem import Gradient
from calib._pyro_density import PyroDensity
from calib._pyro_read import read_pyro
from calib._pyro_space import DependentSpace
from calib._simulator import Rows
from calib._space import Parameter, ParameterSpace

Prior = ParameterSpace | Mapping[str, Distribution]
Simulator = Callable[..., Any]
LOOKED_AT = 4  # runs that tell shapes and derivatives before anything else is spent


@dataclass(frozen=True, eq=False)
class InCoordinates:
    """A simulator of named parameters as one of coordinates, `(x [P, D], seed) -> [P, M]`."""

    rows: Callable[[Mapping[str, Tensor], int], Tensor]
    space: ParameterSpace
    coordinates: Coordinates

    def __call__(self, x: Tensor, seed: int) -> Tensor:
        """Simulate."""
        return self.rows(self.space.to_theta(self.coordinates.to_z(x)), seed)


@dataclass(frozen=True, eq=False)
class PyroInCoordinates:
    """Log likelihood of a Pyro model as its only output, `(x [P, D], seed) -> [P, 1]`."""

    density: PyroDensity
    coordinates: Coordinates

    def __call__(self, x: Tensor, seed: int) -> Tensor:
        """Evaluate."""
        return self.density.log_weight(self.coordinates.to_z(x), seed)[:, None]


def understand(
    model: Simulator, prior: Prior | None, data: Any, likelihood: Likelihood | None
) -> tuple[ParameterSpace, Tensor | None, Rows, Callable[[Tensor], Tensor]]:
    """Parameters, data, outputs of theta and log likelihood of outputs, whichever way the model was given.

    Raises:
        TypeError: the model, the prior or the likelihood cannot be called or read.
        ValueError: one of them is missing.
    """
    if not callable(model):
        raise TypeError(f"the model is a {type(model).__name__}, expected a function of parameters and a seed.")
    if likelihood is not None and not callable(likelihood):
        raise TypeError(
            f"the likelihood is a {type(likelihood).__name__}, expected a function of outputs: lambda outputs: Distribution(outputs)."
        )
    if prior is None:
        if likelihood is not None:
            raise ValueError(
                "a likelihood was given without a prior: give both with a simulator, neither with a Pyro model."
            )
        if data is None:
            raise ValueError(
                "a model was given without prior and data: pass a prior for a simulator, data for a Pyro model."
            )
        density = read_pyro(model, data)
        kept = data if isinstance(data, Tensor) else None
        return density.space or DependentSpace(density), kept, Rows(density), FirstColumn()  # type: ignore[arg-type, return-value]
    space = prior if isinstance(prior, ParameterSpace) else _space(prior)
    if likelihood is None:
        return space, None if data is None else as_data(data), Rows(model), FirstColumn()
    if data is None:
        raise ValueError("a likelihood was given without data: pass what was observed, one event of the likelihood.")
    observed = as_data(data)
    return space, observed, Rows(model), Evaluate(likelihood, observed)


def _space(prior: Mapping[str, Distribution]) -> ParameterSpace:
    if not isinstance(prior, Mapping):
        raise TypeError(f"the prior is a {type(prior).__name__}, expected a dict of distributions or a ParameterSpace.")
    for name, given in prior.items():
        if not isinstance(given, Distribution):
            raise TypeError(
                f"the prior of {name!r} is a {type(given).__name__}, expected a distribution of torch.distributions."
            )
    return ParameterSpace(tuple(Parameter(name, given) for name, given in prior.items()))


def pyro_path(gradient: str) -> Gradient:
    """How a Pyro model is differentiated."""
    if gradient == "forward":
        raise ValueError("gradient='forward' was asked for a Pyro model: use 'reverse', or 'score' for none.")
    return "score" if gradient == "score" else "reverse"


def look(rows: Rows, space: ParameterSpace, value: Callable[[Tensor], Tensor], gradient: str, seed: int) -> Gradient:
    """Run a few draws of the prior: shapes that do not fit are refused, and whether outputs carry a graph is seen."""
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "look"))
    z = torch.randn(LOOKED_AT, space.dim, generator=generator, dtype=torch.float64)
    at = derive_seed(seed, 0, "look-simulate")
    path: str = gradient
    outputs: Tensor | None = None
    if gradient in ("auto", "reverse"):
        try:
            outputs = rows(space.to_theta(z.requires_grad_()), at)
        except FitError as error:
            _say_graph(error, gradient)
        path = "reverse" if gradient == "reverse" or (outputs is not None and outputs.requires_grad) else "score"
        rows.forget()
    if outputs is None:
        with torch.no_grad():
            try:
                outputs = rows(space.to_theta(z.detach()), at)
            except FitError:
                rows.forget()  # four draws may all fail; the first round of the method says so if others do too
                return path  # type: ignore[return-value]
    finite = outputs.detach()[torch.isfinite(outputs.detach()).all(1)]
    value(finite)
    return path  # type: ignore[return-value]


def _say_graph(error: FitError, gradient: str) -> None:
    """Say what numpy means by a tensor that requires grad, where derivatives were asked for."""
    if gradient == "reverse" and "requires grad" in str(error):
        raise ValueError(
            "the simulator leaves torch (numpy was called on a parameter), so its outputs have no derivatives: use gradient='score'."
        ) from error


def look_for_noise(rows: Rows, value: Callable[[Tensor], Tensor], space: ParameterSpace, seed: int) -> Pilot | None:
    """Whether the simulator has noise; None if all runs failed, which the first round of the method then says."""
    try:
        return run_noise_pilot(rows, value, space, seed)
    except FitError:
        rows.forget()
        return None
