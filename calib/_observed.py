"""Data and their likelihood: numbers of their own type, entries that are missing, and shapes that must agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal

from calib._rows import as_numbers

Likelihood = Callable[[Tensor], Distribution]


def as_data(raw: Any) -> Tensor:
    """Observations in any container as float64; NaN (None, NA) marks what is missing.

    Args:
        raw: a number, tensor, array, series, table or nested lists; or a mapping of such, set side by side.

    Raises:
        TypeError: they are no numbers.
        ValueError: there are none, all are missing, or one is infinite.
    """
    if isinstance(raw, Mapping):
        parts = [as_numbers(part, f"the data {name!r}").flatten() for name, part in raw.items()]
        data = torch.cat(parts) if parts else torch.empty(0)
    else:
        data = as_numbers(raw, "the data")
        if getattr(raw, "columns", None) is not None and data.ndim == 2 and data.shape[1] == 1:
            data = data[:, 0]  # a table of one column
    if data.numel() == 0 or bool(data.isnan().all()):
        raise ValueError(f"the data of shape {tuple(data.shape)} hold no number: pass at least one observation.")
    if bool(data.isinf().any()):
        raise ValueError(
            f"{int(data.isinf().sum())} of {data.numel()} data are infinite, expected finite numbers: write NaN for what is missing."
        )
    return data.detach().clone()


@dataclass(frozen=True, eq=False)
class Evaluate:
    """Log likelihood of outputs `[P, M] -> [P]`, nats.

    Between runs outputs are modelled and may leave the range that the likelihood asks for (a share just below 0): such rows
    are evaluated without torch's checks, and count as impossible where that gives no number.

    Attributes:
        likelihood: distribution of the data given outputs, one event a row.
        data: what was observed, of the event's shape, or of one row of it; NaN where it is missing.
    """

    likelihood: Likelihood
    data: Tensor

    def __call__(self, outputs: Tensor) -> Tensor:
        """Evaluate.

        Raises:
            TypeError: the likelihood gives no distribution.
            ValueError: its shape does not fit the data, or the data are outside its support.
        """
        if len(outputs) == 0:
            return outputs.new_zeros(0)
        try:
            with validation(True):  # whatever other libraries have made of torch's default
                return self._log_prob(outputs)
        except Mismatch:
            raise
        except ValueError as error:
            with unchecked():
                given = self.likelihood(outputs)
                _refuse_outside(given, _filled(self._fitting(given, outputs)), error)
                return self._log_prob(outputs)

    def _log_prob(self, outputs: Tensor) -> Tensor:
        given = self.likelihood(outputs)
        data = self._fitting(given, outputs)
        present = ~data.isnan()
        value = given.log_prob(data) if present.all() else observed_part(given, data, present)
        if value.shape != given.batch_shape:
            raise Mismatch(
                f"the likelihood gave log densities of shape {tuple(value.shape)}, expected one value a row: "
                f"{tuple(given.batch_shape)}."
            )
        return value

    def _fitting(self, given: Any, outputs: Tensor) -> Tensor:
        """The data in the shape of one event."""
        if not isinstance(given, Distribution):
            raise TypeError(
                f"the likelihood gave a {type(given).__name__} for outputs of shape {tuple(outputs.shape)}, expected a distribution: "
                "return one of torch.distributions."
            )
        batch, event, shape = tuple(given.batch_shape), tuple(given.event_shape), tuple(self.data.shape)
        if batch != (len(outputs),):
            raise Mismatch(
                f"the likelihood gave a batch of shape {batch} for {len(outputs)} rows of outputs, expected one value a row: make "
                "the data one event, for instance with torch.distributions.Independent(..., 1)."
            )
        one_row = shape == (1, *event)  # as a simulator gives one run
        if shape != event and not one_row and not (self.data.numel() == 1 and math.prod(event) == 1):
            count = math.prod(event)
            cure = f", for instance by data.reshape{event}" if self.data.numel() == count else ""
            raise Mismatch(
                f"the data have shape {shape}, but one event of the likelihood has shape {event}: give outputs and data the same "
                f"observations in the same shape{cure}."
            )
        return self.data.to(outputs.device).reshape(event)


@dataclass(frozen=True)
class FirstColumn:
    """The log likelihood of a simulator whose only output is the log likelihood."""

    def __call__(self, outputs: Tensor) -> Tensor:
        """`[P, 1]` to `[P]`.

        Raises:
            ValueError: there is more than one output.
        """
        if outputs.shape[1] != 1:
            raise ValueError(
                f"without a likelihood the simulator's output must be the log likelihood, [P] or [P, 1], but it gave {outputs.shape[1]} "
                "outputs a row: pass likelihood=, or return their sum."
            )
        return outputs[:, 0]


class Mismatch(ValueError):
    """Data and likelihood that do not belong together, whatever the parameters."""


def _filled(data: Tensor) -> Tensor:
    """Another datum in place of each that is missing: what stands there is not counted."""
    return torch.where(data.isnan(), data[~data.isnan()].min(), data)


def _refuse_outside(given: Distribution, data: Tensor, error: ValueError) -> None:
    """Refuse data that no row allows: then it is they, and not a modelled output, that are wrong."""
    try:
        allowed = bool(torch.as_tensor(given.support.check(data)).any())  # type: ignore[union-attr]
    except (NotImplementedError, AttributeError):
        raise error from None
    if not allowed:
        raise Mismatch(
            f"the data, from {float(data.min()):g} to {float(data.max()):g}, are outside the support of the likelihood, "
            f"a {type(_base(given)).__name__}: choose another likelihood or correct the data."
        )


def _base(given: Distribution) -> Distribution:
    while isinstance(given, Independent):
        given = given.base_dist
    return given


def observed_part(given: Distribution, data: Tensor, present: Tensor) -> Tensor:
    """Log density of the entries that were observed, `[P]`.

    Args:
        given: independent entries, or a multivariate normal distribution.
        data: one event.
        present: which entries were observed, of the event's shape.

    Raises:
        ValueError: the distribution has no marginal density here.
    """
    if isinstance(given, MultivariateNormal):
        inside = given.covariance_matrix[..., present, :][..., :, present]
        return MultivariateNormal(given.loc[..., present], inside).log_prob(data[present])
    each = _base(given)
    if len(each.event_shape):
        raise Mismatch(
            f"{int((~present).sum())} of {present.numel()} data are missing, but entries of a {type(each).__name__} cannot be left out "
            "one by one: use torch.distributions.Independent or MultivariateNormal, or leave missing entries out of outputs and data."
        )
    filled = _filled(data)
    if given._validate_args:
        _refuse_outside(given, filled, ValueError("the data are outside the support of the likelihood."))
    with unchecked():
        value = torch.where(present, each.log_prob(filled), 0.0)
    return value.flatten(len(given.batch_shape)).sum(-1)


def finite_or_impossible(value: Tensor) -> Tensor:
    """Log likelihoods with minus infinity where they are not a number."""
    return value.nan_to_num(nan=-math.inf, neginf=-math.inf, posinf=-math.inf)


@contextmanager
def validation(on: bool) -> Iterator[None]:
    """Distributions check their parameters and values, or take any, in here."""
    kept = Distribution._validate_args
    Distribution.set_default_validate_args(on)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(kept)


def unchecked() -> AbstractContextManager[None]:
    """Distributions take any parameters in here."""
    return validation(False)
