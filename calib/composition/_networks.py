"""Families that are networks of the covariates, shared by all regions: any torch module, perceptron, GRU, neural CDE."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from calib.composition._family import Function, Sd, Setting, Summable, Theta, scale_of, standard, times


@dataclass(frozen=True, eq=False)
class Module(Summable):
    """See `module`."""

    make: Callable[[int], nn.Module]
    sd: Sd = 1.0
    embedding: int = 0
    embedding_sd: Sd = 1.0
    name: str = field(default="module")

    def build(self, setting: Setting) -> Function:
        """See `Family`."""
        x = setting.inputs(self.name)
        stem = f"{setting.name}_weights"
        # the module's own initial weights are not used, and its making leaves torch's generator as it was
        with torch.random.fork_rng(devices=[]):
            net = self.make(x.shape[2] + self.embedding).double()
        shapes = {name: tuple(p.shape) for name, p in net.named_parameters()}
        scales = torch.cat([_prior_sd(name, p).flatten() for name, p in net.named_parameters()])
        for p in net.parameters():
            p.requires_grad_(False)
        parameters, sd = scale_of(stem, self.sd)
        place = f"{setting.name}_embedding"
        more, tau = scale_of(place, self.embedding_sd) if self.embedding else ((), lambda theta: 1.0)
        if self.embedding:
            more = (*more, standard(place, setting.regions, self.embedding))

        def one(flat: Tensor, inputs: Tensor) -> Tensor:
            at, weights = 0, {}
            for name, shape in shapes.items():
                count = math.prod(shape)
                weights[name] = flat[at : at + count].reshape(shape)
                at += count
            out: Tensor = torch.func.functional_call(net, weights, (inputs,))
            if out.ndim == 3 and out.shape[2] == 1:
                out = out[..., 0]
            if tuple(out.shape) != (setting.regions, setting.knots):
                raise ValueError(
                    f"the module of block {setting.name!r} gave an output of shape {tuple(out.shape)}, expected [region, knot] = "
                    f"({setting.regions}, {setting.knots}): let its last layer give one number for each region and knot."
                )
            return out

        def value(theta: Theta) -> Tensor:
            flat = theta[stem]
            batch, inputs = flat.shape[:-1], x.to(flat)
            flat = flat.reshape(-1, flat.shape[-1])
            given = inputs.expand(len(flat), *inputs.shape)
            if self.embedding:
                scale = tau(theta)
                own = theta[place] * (scale[..., None, None] if isinstance(scale, Tensor) else scale)
                own = own.reshape(-1, setting.regions, 1, self.embedding).expand(-1, -1, setting.knots, -1)
                given = torch.cat([given, own], -1)
            rows = [one(w, i) for w, i in zip(flat, given, strict=True)]
            out = torch.stack(rows).reshape(*batch, setting.regions, setting.knots)
            return times(sd(theta), out)

        function = Function((*parameters, standard(stem, len(scales), sd=scales), *more), value, (stem,))
        one(
            torch.zeros(len(scales), dtype=torch.float64),
            torch.zeros(*x.shape[:2], x.shape[2] + self.embedding).double(),
        )
        return function


def _prior_sd(name: str, p: Tensor) -> Tensor:
    """1 over the root of the inputs of a weight; biases have the scale 0.1, so that no covariates give little."""
    if p.ndim < 2:
        return torch.full_like(p, 0.1).detach()
    return torch.full_like(p, p[0].numel() ** -0.5).detach()


class Perceptron(nn.Module):
    """Layers of tanh at each knot by itself."""

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * layers]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.last = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[region, knot, input]` to `[region, knot, 1]`."""
        for layer in self.layers:
            x = torch.tanh(layer(x))
        out: Tensor = self.last(x)
        return out


class Recurrent(nn.Module):
    """A gated recurrent unit along the knots: the value at a knot depends on covariates up to it."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.inward = nn.Linear(inputs, 3 * hidden)
        self.recurrent = nn.Linear(hidden, 3 * hidden, bias=False)
        self.last = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[region, knot, input]` to `[region, knot, 1]`.

        Written out, as torch's own GRU has no batching rule for derivatives in its weights.
        """
        given = self.inward(x)
        state, rows = x.new_zeros(x.shape[0], self.hidden), []
        for k in range(x.shape[1]):
            reset, update, new = given[:, k].chunk(3, -1)
            own_reset, own_update, own_new = self.recurrent(state).chunk(3, -1)
            keep = torch.sigmoid(update + own_update)
            state = (1 - keep) * torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new) + keep * state
            rows.append(state)
        out: Tensor = self.last(torch.stack(rows, 1))
        return out


class ControlledEquation(nn.Module):
    """A neural controlled differential equation, `dh = f(h) dx`, by Heun's steps from knot to knot."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden, self.inputs = hidden, inputs + 1
        self.start = nn.Linear(inputs, hidden)
        self.inner = nn.Linear(hidden, hidden)
        self.field = nn.Linear(hidden, hidden * self.inputs)
        self.last = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[region, knot, input]` to `[region, knot, 1]`; time is one of the controls."""
        time = torch.linspace(0, 1, x.shape[1], dtype=x.dtype, device=x.device)[None, :, None].expand(x.shape[0], -1, 1)
        step = torch.diff(torch.cat([time, x], -1), dim=1)
        state = torch.tanh(self.start(x[:, 0]))
        rows = [state]
        for k in range(step.shape[1]):
            first = self._slope(state, step[:, k])
            state = state + 0.5 * (first + self._slope(state + first, step[:, k]))
            rows.append(state)
        out: Tensor = self.last(torch.stack(rows, 1))
        return out

    def _slope(self, state: Tensor, step: Tensor) -> Tensor:
        rate = torch.tanh(self.field(torch.tanh(self.inner(state)))).unflatten(-1, (self.hidden, self.inputs))
        return torch.einsum("rhi,ri->rh", rate, step)


def module(make: Callable[[int], nn.Module], *, sd: Sd = 1.0, embedding: int = 0, embedding_sd: Sd = 1.0) -> Module:
    """Any torch module of the covariates, its weights N(0, 1 / fan-in), biases N(0, 0.1^2).

    Args:
        make: number of inputs to a module `[region, knot, input] -> [region, knot]` or `[region, knot, 1]`.
        sd: by which its output is multiplied, or the prior of that.
        embedding: coordinates of each region that join the covariates, N(0, embedding_sd^2): with a prior for `embedding_sd` regions are
            partially pooled.
        embedding_sd: given, or its prior.

    Raises:
        ValueError: the output has another shape.
    """
    return Module(make, sd, embedding, embedding_sd)


def mlp(hidden: int = 16, *, layers: int = 1, sd: Sd = 1.0, embedding: int = 0, embedding_sd: Sd = 1.0) -> Module:
    """A perceptron of the covariates at each knot by itself; arguments as for `module`."""
    return Module(lambda inputs: Perceptron(inputs, hidden, layers), sd, embedding, embedding_sd, "mlp")


def gru(hidden: int = 16, *, sd: Sd = 1.0, embedding: int = 0, embedding_sd: Sd = 1.0) -> Module:
    """A gated recurrent unit of the covariates up to each knot; arguments as for `module`.

    References:
        Cho et al. 2014, EMNLP, 1724.
    """
    return Module(lambda inputs: Recurrent(inputs, hidden), sd, embedding, embedding_sd, "gru")


def neural_cde(hidden: int = 8, *, sd: Sd = 1.0, embedding: int = 0, embedding_sd: Sd = 1.0) -> Module:
    """A neural controlled differential equation driven by the covariates; arguments as for `module`.

    References:
        Kidger et al. 2020, NeurIPS 33:6696.
    """
    return Module(lambda inputs: ControlledEquation(inputs, hidden), sd, embedding, embedding_sd, "neural CDE")
