"""Families of q(z), all started at N(0, init_scale^2 I), all sampled in one pass from given base noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from calib._autoregressive import Autoregressive, Inverted, affine, spline
from calib._layers import Back, Diagonal, FullRank, Layer, LowRank, PartlyCentred

_LOG_2PI = math.log(2 * math.pi)


class Flow(nn.Module):
    """A distribution q(z) made by pushing N(0, I) noise through layers.

    Attributes:
        name: the name it was made by.
        dim: dimension D of z.
        settings: the arguments of `make_flow`, enough to make it again.
    """

    def __init__(self, name: str, dim: int, layers: list[Layer], settings: dict[str, Any]) -> None:
        super().__init__()
        self.name, self.dim, self.settings = name, dim, settings
        self.layers = nn.ModuleList(layers)

    @property
    def like(self) -> Tensor:
        """A parameter, to read dtype and device from."""
        return next(self.parameters())

    def rates(self) -> dict[str, float]:
        """Learning rate of each weight relative to the common one, by the names of `named_parameters`."""
        out = {}
        for i, layer in enumerate(self.layers):
            own: dict[str, float] = layer.rates  # type: ignore[assignment]
            for name, _ in layer.named_parameters():
                out[f"layers.{i}.{name}"] = own.get(name, own.get("", 1.0))
        return out

    def sample_with_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Push base noise through the flow, reparameterised.

        Args:
            noise: `[*batch, D]`, draws of N(0, I).

        Returns:
            z `[*batch, D]` and log q(z) `[*batch]`, both differentiable.

        Raises:
            ValueError: if the last axis of the noise is not D.
        """
        self._check(noise)
        z, log_q = noise, -0.5 * (noise**2).sum(-1) - 0.5 * self.dim * _LOG_2PI
        for layer in self.layers:
            z, log_det = layer.push(z)  # type: ignore[operator]
            log_q = log_q - log_det
        return z, log_q

    def with_back(self, noise: Tensor) -> tuple[Tensor, Tensor, Back]:
        """`sample_with_log_prob` without a graph, and its reverse mode in the noise alone.

        Args:
            noise: `[P, D]`.

        Returns:
            z `[P, D]`, log q(z) `[P]`, and a function from derivatives in both to that in the noise, `[P, D]`, which can be asked once.

        Raises:
            ValueError: if the last axis of the noise is not D.
        """
        self._check(noise)
        z, log_q, backs = noise.detach(), -0.5 * (noise.detach() ** 2).sum(-1) - 0.5 * self.dim * _LOG_2PI, []
        for layer in self.layers:
            z, log_det, back = layer.push_with_back(z)  # type: ignore[operator]
            log_q = log_q - log_det
            backs.append(back)

        def whole(to_z: Tensor, to_log_q: Tensor) -> Tensor:
            out = to_z
            for back in reversed(backs):
                out = back(out, -to_log_q)
            return out - to_log_q[..., None] * noise.detach()

        return z, log_q, whole

    def _check(self, noise: Tensor) -> None:
        if noise.ndim == 0 or noise.shape[-1] != self.dim:
            raise ValueError(f"noise has shape {tuple(noise.shape)}, expected [*batch, {self.dim}] for this flow")

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Independent draws, without gradient.

        Args:
            count: number of draws, S.
            generator: source of randomness.

        Returns:
            z `[S, D]`.
        """
        with torch.no_grad():
            return self.sample_with_log_prob(self.noise(count, generator))[0]

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Base noise `[count, D]` in the dtype and on the device of the flow."""
        draw = torch.randn(count, self.dim, generator=generator, dtype=torch.float64, device=generator.device)
        return draw.to(self.like)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of given points: D passes per autoregressive layer, one for the others.

        Args:
            z: `[*batch, D]`.

        Returns:
            log q(z) `[*batch]`.
        """
        if any(isinstance(layer, Inverted) for layer in self.layers):
            return self._density(z)
        u = self.inverse(z)
        return self.sample_with_log_prob(u)[1]

    def _density(self, z: Tensor) -> Tensor:
        """`log_prob` layer by layer, where an inverted one gives point and slope in the same pass."""
        total = torch.zeros_like(z[..., 0])
        for layer in reversed(self.layers):
            if isinstance(layer, Inverted):
                z, log_slope = layer.inner.push(z)
                total = total + log_slope
            else:
                z = layer.pull(z)  # type: ignore[operator]
                total = total - layer.push(z)[1]  # type: ignore[operator]
        return total - 0.5 * (z**2).sum(-1) - 0.5 * self.dim * _LOG_2PI

    def score(self, noise: Tensor) -> Tensor:
        """Derivative of log q(z) in z, at the z that the noise is sent to, with the weights held fixed.

        One pass for Gaussian layers; an autoregressive layer needs its Jacobian, D batched backward passes
        (Vaitl et al. 2022). Neither inverts the flow.

        Args:
            noise: `[particle, D]`.

        Returns:
            `[particle, D]`, without a graph.
        """
        with torch.no_grad():
            u, score = noise, -noise
            for layer in self.layers:
                score = layer.pull_score(u, score)  # type: ignore[operator]
                u = layer.push(u)[0]  # type: ignore[operator]
        return score

    def inverse(self, z: Tensor) -> Tensor:
        """The base noise `[*batch, D]` that the flow sends to `z [*batch, D]`."""
        for layer in reversed(self.layers):
            z = layer.pull(z)  # type: ignore[operator]
        return z


FLOWS = ("gaussian", "gaussian-diagonal", "gaussian-low-rank", "nsf", "maf", "gaussian-nsf")


def make_flow(
    name: str,
    dim: int,
    *,
    seed: int,
    init_scale: float = 1.0,
    hidden: int | None = None,
    bins: int = 8,
    transforms: int = 3,
    rank: int = 8,
    direction: str = "sample",
    hierarchy: Sequence[tuple[int, int, int, float]] = (),
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Flow:
    """Make a flow that starts at N(0, init_scale^2 I).

    Args:
        name: "gaussian" (full rank), "gaussian-diagonal", "gaussian-low-rank", "nsf" (neural spline
            autoregressive,
            Durkan et al. 2019), "maf" (affine autoregressive, sampled in one pass, Kingma et al. 2016), or
            "gaussian-nsf" (a full-rank affine map after one spline layer that starts as the identity).
        dim: dimension D of z.
        seed: of the random start of the hyper-networks.
        init_scale: standard deviation of the start.
        hidden: width of the hyper-networks; `max(64, 2 * dim)` if None, so that every input has a unit.
        bins: bins of the splines.
        transforms: autoregressive layers of "nsf" and "maf".
        rank: rank of "gaussian-low-rank".
        direction: `"sample"`, one pass to sample, for the ELBO; or `"density"`, one pass for the density, for maximum
            likelihood on given draws: autoregressive layers inverted, followed by a full-rank affine map. The
            Gaussian flows are the same both ways.
        hierarchy: effects with an unknown scale, `(index of the scale, first, last, slope of its log)` each (`PartlyCentred`).
        dtype: floating type of the flow.
        device: where it stands.

    Returns:
        The flow.

    Raises:
        ValueError: if the name or direction is unknown, or dim or init_scale is not positive.

    Examples:
        >>> import torch
        >>> from calib import make_flow
        >>> flow = make_flow("gaussian", 2, seed=0)
        >>> flow.sample(5, torch.Generator().manual_seed(0)).shape
        torch.Size([5, 2])
    """
    if name not in FLOWS:
        raise ValueError(f"no flow is called {name!r}: choose one of {', '.join(FLOWS)}")
    if dim < 1 or not init_scale > 0:
        raise ValueError(f"dim = {dim} and init_scale = {init_scale} were given for a flow: both must be positive")
    settings: dict[str, Any] = {"seed": seed, "init_scale": init_scale, "hidden": hidden, "bins": bins}
    settings |= {"transforms": transforms, "rank": rank}
    if direction not in ("sample", "density"):
        raise ValueError(f"direction = {direction!r} was given for a flow, expected 'sample' or 'density'")
    if direction == "density":
        settings["direction"] = direction
    generator = torch.Generator().manual_seed(seed)
    width = hidden if hidden is not None else max(64, 2 * dim)
    layers: list[Layer]
    if name == "gaussian":
        layers = [FullRank(dim, init_scale)]
    elif name == "gaussian-diagonal":
        layers = [Diagonal(dim, init_scale)]
    elif name == "gaussian-low-rank":
        layers = [LowRank(dim, init_scale, min(rank, dim), generator)]
    elif name == "gaussian-nsf":
        layers = [spline(dim, width, bins, False, generator), FullRank(dim, init_scale)]
    elif name == "nsf":
        layers = [spline(dim, width, bins, bool(i % 2), generator) for i in range(transforms)]
        layers.append(Diagonal(dim, init_scale))
    else:
        layers = [affine(dim, width, bool(i % 2), generator) for i in range(transforms)]
        layers.append(Diagonal(dim, init_scale))
    if direction == "density" and any(isinstance(layer, Autoregressive) for layer in layers):
        inverted = [Inverted(layer) for layer in layers if isinstance(layer, Autoregressive)]
        layers = [*inverted, FullRank(dim, init_scale)]
    if hierarchy:
        layers.append(PartlyCentred(dim, hierarchy))
        settings["hierarchy"] = [list(row) for row in hierarchy]
    return Flow(name, dim, layers, settings).to(dtype=dtype, device=device)
