"""Parameters of a Pyro model whose priors depend on each other, with the interface of `ParameterSpace`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from calib._pyro_density import PyroDensity
from calib._pyro_sites import Site


@dataclass(frozen=True, eq=False)
class DependentSpace:
    """Sites of a Pyro model as functions of z, one after the other.

    Attributes:
        density: the model.
    """

    density: PyroDensity

    @property
    def parameters(self) -> tuple[Site, ...]:
        """The sites, in the order of their coordinates."""
        return tuple(self.density.sites.values())

    @property
    def dim(self) -> int:
        """Number of coordinates, D."""
        return self.density.dim

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return self.density.names

    def to_theta(self, z: Tensor) -> dict[str, Tensor]:
        """Sites in their own units, `[*batch, *site]`, at `z [*batch, D]`."""
        if z.ndim == 0 or z.shape[-1] != self.dim:
            raise ValueError(f"z has shape {tuple(z.shape)}, expected [*batch, {self.dim}] for this space")
        return self.density.visit(z, lambda fill: fill.values)

    def to_z(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Inverse of `to_theta`: `[*batch, *site]` by name to `[*batch, D]`.

        Raises:
            ValueError: a site is missing.
        """
        for site in self.parameters:
            if site.name not in theta:
                raise ValueError(
                    f"theta has no {site.name!r} (it has {', '.join(theta)}): give every site of the model"
                )
        first = self.parameters[0]
        batch = theta[first.name].shape[: theta[first.name].ndim - len(first.shape)]
        flat = {s.name: theta[s.name].reshape((-1, *s.shape)) for s in self.parameters}
        count = flat[first.name].shape[0]
        rows = [self.density.coordinates({name: value[i] for name, value in flat.items()}) for i in range(count)]
        return torch.stack(rows).reshape((*batch, self.dim)).to(theta[first.name])

    def log_slope(self, z: Tensor) -> dict[str, Tensor]:
        """Log |d theta / d z| of each site given those before it, `[*batch]`."""
        return self.density.visit(z, lambda fill: fill.log_slope)

    def inside(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Whether sites are numbers, `[*batch]`; outside their bounds their coordinates are not finite."""
        kept = [
            torch.isfinite(theta[s.name])
            .reshape((*theta[s.name].shape[: theta[s.name].ndim - len(s.shape)], -1))
            .all(-1)
            for s in self.parameters
        ]
        return torch.stack(kept).all(0)

    def flatten(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Values of all sites in one row, `[*batch, entries]`."""
        rows = [
            theta[s.name].reshape((*theta[s.name].shape[: theta[s.name].ndim - len(s.shape)], -1))
            for s in self.parameters
        ]
        return torch.cat(rows, -1)

    def sample_prior(
        self, count: int, generator: torch.Generator, *, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """Independent draws of the prior, `[S, *site]` by name.

        Raises:
            ValueError: a prior is improper.
        """
        z = torch.randn(count, self.dim, generator=generator, dtype=dtype)
        if self.density.whitened:
            return self.to_theta(z)
        return self.density.draw_prior(z, int(torch.randint(2**31, (), generator=generator)))
