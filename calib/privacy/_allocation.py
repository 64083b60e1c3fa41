"""How much of a privacy budget each stream gets: as much as keeps most of what all of them tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from calib._short_repr import short_repr


@dataclass(frozen=True, eq=False)
class StreamInformation:
    """What a stream tells of D parameters, without noise: its Fisher information is `jacobian' diag(1 / variance) jacobian`.

    Taken at public values, such as the medians of the priors: information at the private data would tell of them.

    Attributes:
        jacobian: `[F, D]` derivatives of the expected entries.
        variance: `[F]` of the entries.
    """

    __repr__ = short_repr

    jacobian: Tensor
    variance: Tensor

    def with_noise(self, variance: Tensor) -> Tensor:
        """`[D, D]` information where each entry has noise of this variance too."""
        return self.jacobian.mT @ (self.jacobian / (self.variance + variance)[:, None])


def allocate(
    entries: Mapping[str, int], information: Mapping[str, StreamInformation] | None, rho: float
) -> dict[str, float]:
    """Shares of the budget rho by stream, which sum to one.

    With information the log determinant of that which is left, on top of a prior N(0, I), is largest; without, all streams have equal
    noise, so that shares are proportional to the entries of a person.

    Args:
        entries: by stream, entries that a person may change.
        information: by stream.
        rho: the whole budget.
    """
    names = [name for name in entries if entries[name]]
    count = np.array([entries[name] for name in names], dtype=float)
    if information is None or len(names) < 2:
        return dict(zip(names, count / count.sum(), strict=True))
    told = [information[name] for name in names]
    eye = torch.eye(told[0].jacobian.shape[1], dtype=torch.float64)

    def loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        share = leaf.softmax(0)
        left = eye
        for i, stream in enumerate(told):
            left = left + stream.with_noise(count[i] / (2 * rho * share[i]))
        value = -torch.logdet(left)
        value.backward()
        assert leaf.grad is not None
        return float(value.detach()), leaf.grad.numpy()

    starts = [np.log(count), *(np.log(count) + 3.0 * np.eye(len(names))[i] for i in range(len(names)))]
    found = min((minimize(loss, start, jac=True, method="L-BFGS-B") for start in starts), key=lambda r: r.fun)
    weight = np.exp(found.x - found.x.max())
    return dict(zip(names, weight / weight.sum(), strict=True))
