"""Families of q(z), all started at N(0, init_scale^2 I), all sampled in one pass from given base noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

_LOG_2PI = math.log(2 * math.pi)


class Layer(nn.Module, ABC):
    """One invertible map u -> z.

    Attributes:
        rates: learning rates of some weights relative to the others', by name; the empty name means all of
            them. Many
            weights that act on one coordinate together must each move less.
    """

    rates: dict[str, float] = {}  # noqa: RUF012 (replaced, never changed)

    @abstractmethod
    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Map `u [*batch, D]` to `(z [*batch, D], log |det dz/du| [*batch])`."""

    @abstractmethod
    def pull(self, z: Tensor) -> Tensor:
        """Inverse of `push`: `z [*batch, D]` to `u [*batch, D]`."""

    @abstractmethod
    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        """Carry the derivative of a log density through the layer.

        With log q(z) = log q(u) - log |det J(u)|, the derivative in z is J^-T (score - d log |det J| / du).

        Args:
            u: `[particle, D]`.
            score: derivative of log q(u) in u, `[particle, D]`.

        Returns:
            Derivative of log q(z) in z = push(u), `[particle, D]`.
        """


class Diagonal(Layer):
    """z = loc + scale * u, entry by entry."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(scale), dtype=torch.float64))

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.loc + self.log_scale.exp() * u, self.log_scale.sum().expand(u.shape[:-1])

    def pull(self, z: Tensor) -> Tensor:
        return (z - self.loc) * (-self.log_scale).exp()

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        return score * (-self.log_scale).exp()


class FullRank(Layer):
    """z = loc + S (I + N) u with S diagonal and N strictly lower triangular, so any Gaussian.

    Scaling the rows keeps the entries of N of order one however narrow the posterior is.
    """

    strict: Tensor

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(scale), dtype=torch.float64))
        self.lower = nn.Parameter(torch.zeros(dim, dim, dtype=torch.float64))
        self.rates = {"lower": min(1.0, 2 / math.sqrt(dim))}
        self.register_buffer("strict", torch.ones(dim, dim, dtype=torch.float64).tril(-1), persistent=False)

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        mixed = u + u @ (self.lower * self.strict).mT
        return self.loc + self.log_scale.exp() * mixed, self.log_scale.sum().expand(u.shape[:-1])

    def pull(self, z: Tensor) -> Tensor:
        mixed = (z - self.loc) * (-self.log_scale).exp()
        unit = self.lower * self.strict  # unitriangular solve takes the diagonal as one
        flat = mixed.reshape(-1, mixed.shape[-1])
        solved = torch.linalg.solve_triangular(unit, flat.mT, upper=False, unitriangular=True).mT
        return solved.reshape(mixed.shape)

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        unit = (self.lower * self.strict).mT
        solved = torch.linalg.solve_triangular(unit, score.mT, upper=True, unitriangular=True).mT
        return solved * (-self.log_scale).exp()


class PartlyCentred(Layer):
    """z_b = u_b exp(-c u_s) for blocks b of effects whose log scale z_s is itself unknown.

    Effects `scale(z_s) * z_b` are known from data or from their prior: then `u_b` follows the effects themselves (c the slope of the
    log scale: centred) or z_b (c = 0: not centred). The exponent c is fitted, so that a Gaussian in u bends with the funnel.
    (Partially centred parameterisation: Papaspiliopoulos, Roberts and Skoeld 2007, Stat Sci 22:59; fitted by variational inference:
    Gorinova, Moore and Hoffman 2020, ICML.)

    Args:
        hierarchy: `(s, first, last, slope)` for each block: index of the log scale, block `first:last`, d log scale / d z_s.
    """

    def __init__(self, hierarchy: Sequence[tuple[int, int, int, float]]) -> None:
        super().__init__()
        self.blocks = [(s, slice(first, last)) for s, first, last, _ in hierarchy]
        slopes = torch.tensor([slope for *_, slope in hierarchy], dtype=torch.float64)
        self.exponent = nn.Parameter(0.5 * slopes)

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = u.clone(), torch.zeros_like(u[..., 0])
        for c, (s, block) in zip(self.exponent, self.blocks, strict=True):
            z[..., block] = u[..., block] * torch.exp(-c * u[..., s, None])
            log_det = log_det - (block.stop - block.start) * c * u[..., s]
        return z, log_det

    def pull(self, z: Tensor) -> Tensor:
        u = z.clone()
        for c, (s, block) in zip(self.exponent, self.blocks, strict=True):
            u[..., block] = z[..., block] * torch.exp(c * z[..., s, None])
        return u

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        out = score.clone()
        for c, (s, block) in zip(self.exponent, self.blocks, strict=True):
            inner = (u[..., block] * score[..., block]).sum(-1)
            out[..., s] = out[..., s] + c * (block.stop - block.start + inner)
            out[..., block] = score[..., block] * torch.exp(c * u[..., s, None])
        return out


class LowRank(Layer):
    """z = loc + S (I + U V') u with U, V of rank r: directions may widen or narrow, at 2 r D numbers."""

    def __init__(self, dim: int, scale: float, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(scale), dtype=torch.float64))
        self.rates = {"u": min(1.0, 2 / math.sqrt(dim)), "v": min(1.0, 2 / math.sqrt(dim))}
        self.u = nn.Parameter(torch.zeros(dim, rank, dtype=torch.float64))
        self.v = nn.Parameter(torch.randn(dim, rank, generator=generator, dtype=torch.float64) / math.sqrt(dim))

    def _small(self) -> Tensor:
        return torch.eye(self.v.shape[1], dtype=self.v.dtype, device=self.v.device) + self.v.mT @ self.u

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        mixed = u + (u @ self.v) @ self.u.mT
        log_det = self.log_scale.sum() + torch.linalg.slogdet(self._small()).logabsdet
        return self.loc + self.log_scale.exp() * mixed, log_det.expand(u.shape[:-1])

    def pull(self, z: Tensor) -> Tensor:
        mixed = (z - self.loc) * (-self.log_scale).exp()  # Woodbury: (I + U V')^-1 = I - U (I + V'U)^-1 V'
        inner = torch.linalg.solve(self._small(), (mixed @ self.v).unsqueeze(-1)).squeeze(-1)
        return mixed - inner @ self.u.mT

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        inner = torch.linalg.solve(self._small().mT, (score @ self.u).unsqueeze(-1)).squeeze(-1)
        return (score - inner @ self.v.mT) * (-self.log_scale).exp()


class Autoregressive(Layer):
    """z_i = f(u_i; u_<i) with f monotone: one pass to sample, D passes to invert (Kingma et al. 2016).

    The last layer of the hyper-network starts at zero, where f is the identity.
    """

    def __init__(
        self,
        dim: int,
        univariate: Callable[..., Any],
        shapes: list[tuple[int, ...]],
        hidden: int,
        reverse: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.reverse = reverse
        self.rates = {"": 0.1}
        order = torch.arange(dim)
        with torch.random.fork_rng(devices=[]):  # zuko's own start draws from the global state; it is replaced below
            self.net = MaskedAutoregressiveTransform(
                features=dim,
                order=order.flip(0) if reverse else order,
                univariate=univariate,
                shapes=shapes,
                hidden_features=(hidden, hidden),
                activation=nn.SiLU,
            )
        self.net.double()
        linear = [m for m in self.net.modules() if hasattr(m, "bias")]
        for m in linear:
            bound = 1 / math.sqrt(m.weight.shape[-1])
            draw = torch.rand(m.weight.shape, generator=generator, dtype=torch.float64)
            m.weight.data = (2 * draw - 1) * bound
            m.bias.data.zero_()
        # With one dimension there is no network, only the numbers that it would have put out.
        for last in [linear[-1].weight] if linear else self.net.parameters():
            last.data.zero_()

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = self.net().call_and_ladj(u)
        return z, log_slope

    def pull(self, z: Tensor) -> Tensor:
        return self.net().inv(z)

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = u.detach().requires_grad_()
            z, log_det = self.push(leaf)
            (slope,) = torch.autograd.grad(log_det.sum(), leaf, retain_graph=True, materialize_grads=True)
            rows = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)[:, None].expand(-1, *u.shape)
            (jacobian,) = torch.autograd.grad(z, leaf, rows, is_grads_batched=True)  # [row, particle, column]
        transposed, right = jacobian.permute(1, 2, 0), (score - slope).unsqueeze(-1)
        # J is triangular in the order of the layer, so its transpose is in the other
        return torch.linalg.solve_triangular(transposed, right, upper=not self.reverse).squeeze(-1)


class Inverted(Layer):
    """An autoregressive layer the other way round: one pass for the density, D passes to sample.

    What maximum likelihood on given draws wants (Papamakarios et al. 2017), where `Autoregressive` is for the ELBO.
    """

    def __init__(self, inner: Autoregressive) -> None:
        super().__init__()
        self.inner = inner

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        z = self.inner.pull(u)
        return z, -self.inner.push(z)[1]

    def pull(self, z: Tensor) -> Tensor:
        return self.inner.push(z)[0]

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = self.inner.pull(u).detach().requires_grad_()
            back, log_det = self.inner.push(leaf)  # log q(z) = log q(u) + log |det du/dz|
            (out,) = torch.autograd.grad((back * score).sum() + log_det.sum(), leaf)
        return out


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
        if noise.ndim == 0 or noise.shape[-1] != self.dim:
            raise ValueError(f"noise has shape {tuple(noise.shape)}, expected [*batch, {self.dim}] for this flow")
        z, log_q = noise, -0.5 * (noise**2).sum(-1) - 0.5 * self.dim * _LOG_2PI
        for layer in self.layers:
            z, log_det = layer.push(z)  # type: ignore[operator]
            log_q = log_q - log_det
        return z, log_q

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


def _spline(dim: int, hidden: int, bins: int, reverse: bool, generator: torch.Generator) -> Autoregressive:
    return Autoregressive(dim, MonotonicRQSTransform, [(bins,), (bins,), (bins - 1,)], hidden, reverse, generator)


def _affine(dim: int, hidden: int, reverse: bool, generator: torch.Generator) -> Autoregressive:
    return Autoregressive(dim, MonotonicAffineTransform, [(), ()], hidden, reverse, generator)


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
        layers = [_spline(dim, width, bins, False, generator), FullRank(dim, init_scale)]
    elif name == "nsf":
        layers = [_spline(dim, width, bins, bool(i % 2), generator) for i in range(transforms)]
        layers.append(Diagonal(dim, init_scale))
    else:
        layers = [_affine(dim, width, bool(i % 2), generator) for i in range(transforms)]
        layers.append(Diagonal(dim, init_scale))
    if direction == "density" and any(isinstance(layer, Autoregressive) for layer in layers):
        inverted = [Inverted(layer) for layer in layers if isinstance(layer, Autoregressive)]
        layers = [*inverted, FullRank(dim, init_scale)]
    if hierarchy:
        layers.append(PartlyCentred(hierarchy))
        settings["hierarchy"] = [list(row) for row in hierarchy]
    return Flow(name, dim, layers, settings).to(dtype=dtype, device=device)
