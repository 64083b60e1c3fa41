"""The posterior density of an ordinary Pyro model on z, for many particles at once.

A model is written for one particle, as Pyro's own samplers expect. How many are evaluated together is found out:
under one outermost plate (fastest, if the model's arithmetic carries leading axes), by `torch.func.vmap`, or one
after another. The faster two are taken only if they give what one after another gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from calib._pyro import log_likelihood
from calib._pyro_sites import Fill, Missing, Site, is_data, whole_plates
from calib._space import ParameterSpace

Model = Callable[..., Any]
Way = Literal["plate", "vmap", "loop"]


@dataclass(frozen=True, eq=False)
class PyroDensity:
    """A Pyro model as a log density on z.

    The posterior of z is proportional to `exp(log_weight(z)) * N(z; 0, I)`.

    Attributes:
        model: the Pyro model function.
        args: what it is called with.
        sites: its unobserved sites by name, in the order of z.
        space: their priors, if each is independent of the others and has a map from N(0, 1); else None.
        nesting: number of nested plates.
        dtype: of z, in which the model runs.
        missing: observed sites with masked values that are not finite.
        random: whether the log density changes from call to call, by draws that the model makes outside its sites.
        way: how particles are evaluated together.
        evaluator: Pyro's sum over enumerated sites; None if there are none.
    """

    model: Model
    args: tuple[Any, ...]
    sites: Mapping[str, Site]
    space: ParameterSpace | None
    nesting: int
    dtype: torch.dtype
    missing: frozenset[str] = frozenset()
    random: bool = False
    way: Way = "loop"
    evaluator: Any = field(default=None, repr=False)

    @property
    def dim(self) -> int:
        """Number of coordinates, D."""
        return sum(site.size for site in self.sites.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return tuple(name for site in self.sites.values() for name in site.coordinates)

    @property
    def whitened(self) -> bool:
        """Whether N(0, I) is the prior of z, no site being mapped by its support alone."""
        return all(site.how != "support" for site in self.sites.values())

    def log_weight(self, z: Tensor, seed: int = 0) -> Tensor:
        """Log posterior density less that of N(0, I), up to a constant.

        Args:
            z: `[P, D]`.
            seed: of what the model draws outside its sites.

        Returns:
            `[P]` in the dtype of z, differentiable; the prior's own factors of sites mapped by their support
            included. Minus infinity where the model raises, as a matrix that is not positive definite makes it.
        """
        try:
            return self.evaluate(z, seed)
        except (ArithmeticError, RuntimeError, ValueError):
            if len(z) == 1:
                return 0.0 * z.sum(1) - math.inf
            half = len(z) // 2
            return torch.cat([self.log_weight(z[:half], seed), self.log_weight(z[half:], seed)])

    def evaluate(self, z: Tensor, seed: int = 0) -> Tensor:
        """`log_weight`, but what the model raises is raised."""
        with fixed_seed(seed):
            rows = z.to(self.dtype)
            if self.way == "plate":
                value = self._by_plate(rows)
            elif self.way == "vmap":
                value = torch.vmap(self._one, randomness="different" if self.random else "same")(rows)
            else:
                value = self._by_loop(rows, seed)
        return (value + 0.0 * rows.sum(1)).to(z)  # differentiable also where the data say nothing

    def visit(self, z: Tensor, what: Callable[[Fill], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Something of the sites at each row of `z [*batch, D]`, by name, `[*batch, ...]`."""
        flat = z.reshape(-1, z.shape[-1]).to(self.dtype)

        def one(row: Tensor) -> dict[str, Tensor]:
            fill = Fill(self.sites, row, slopes=True)
            self._run(fill)
            return what(fill)

        with fixed_seed(0):
            if self.way == "loop":
                rows = [one(row) for row in flat]
                found = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
            else:
                found = torch.vmap(one, randomness="same")(flat)
        return {name: value.reshape((*z.shape[:-1], *value.shape[1:])).to(z) for name, value in found.items()}

    def coordinates(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Coordinates `[D]` of one particle's sites in their own units."""
        fill = Fill(self.sites, theta={name: value.to(self.dtype) for name, value in theta.items()})
        with fixed_seed(0):
            self._run(fill)
        return torch.cat([fill.parts[name].reshape(-1) for name in self.sites])

    def draw_prior(self, z: Tensor, seed: int) -> dict[str, Tensor]:
        """Draws of the prior, `[S, ...]` by site: whitened sites at rows of `z [S, D]`, others by their own generator.

        Raises:
            ValueError: a prior is improper.
        """
        rows = []
        with fixed_seed(seed):
            for row in z.to(self.dtype):
                fill = Fill(self.sites, row, draw=True)
                try:
                    self._run(fill)
                except NotImplementedError:
                    raise ValueError(
                        "a prior of the model is improper and cannot be drawn from: give it a proper one."
                    ) from None
                rows.append(fill.values)
        return {name: torch.stack([row[name] for row in rows]).to(z) for name in self.sites}

    def predict(self, theta: Mapping[str, Tensor], seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Run the model at parameters with its observed sites drawn anew.

        Args:
            theta: every unobserved site by name, `[S, ...]`.
            seed: of the draws.

        Returns:
            Drawn data and deterministic sites by name, `[S, ...]`; masked data are NaN.
        """
        drawn: list[dict[str, Tensor]] = []
        derived: list[dict[str, Tensor]] = []
        with fixed_seed(seed), torch.no_grad():
            for s in range(len(next(iter(theta.values())))):
                fill = Fill(self.sites, theta={name: value[s].to(self.dtype) for name, value in theta.items()})
                anew = _Anew()
                with whole_plates(), pyro.validation_enabled(False), fill, poutine.trace() as tracer, anew:
                    Missing(self.missing)(self.model)(*self.args)
                drawn.append(
                    {
                        k: _masked(torch.as_tensor(n["value"]), n)
                        for k, n in tracer.trace.nodes.items()
                        if k in anew.drawn
                    }
                )
                derived.append({k: torch.as_tensor(n["value"]) for k, n in tracer.trace.nodes.items() if _derived(n)})
        return _stack(drawn), _stack(derived)

    def observed(self) -> dict[str, Tensor]:
        """Observed data by site; masked entries are NaN."""
        with torch.no_grad():
            trace = self._trace(Fill(self.sites, torch.zeros(self.dim, dtype=self.dtype)))
        return {
            k: _masked(torch.as_tensor(n["value"]), n)
            for k, n in trace.nodes.items()
            if is_data(n) and k not in self.sites
        }

    def _by_plate(self, rows: Tensor) -> Tensor:
        assert self.space is not None
        with whole_plates(), pyro.validation_enabled(False):
            theta = self.space.to_theta(rows)
            found = log_likelihood(Missing(self.missing)(self.model), theta, *self.args, max_plate_nesting=self.nesting)
        return sum(found.values())  # type: ignore[return-value]

    def _by_loop(self, rows: Tensor, seed: int) -> Tensor:
        out = []
        for number, row in enumerate(rows):
            torch.manual_seed(seed + number if self.random else seed)
            out.append(self._one(row))
        return torch.stack(out)

    def _one(self, z: Tensor) -> Tensor:
        fill = Fill(self.sites, z)
        trace = self._trace(fill)
        if self.evaluator is not None:
            return self.evaluator.log_prob(trace) + fill.correction
        by_prior = {name for name, site in self.sites.items() if site.how != "support"}
        total: Any = fill.correction
        for name, node in trace.nodes.items():
            if node["type"] == "sample" and name not in by_prior and not poutine.util.site_is_subsample(node):
                fn: Any = node["fn"]
                value = fn.log_prob(node["value"], *node["args"], **node["kwargs"])
                total = total + scale_and_mask(value, node["scale"], node["mask"]).sum()
        return torch.as_tensor(total)

    def _trace(self, fill: Fill) -> poutine.Trace:
        """The trace at the values of `fill`; enumerated sites hold all their values."""
        with whole_plates(), pyro.validation_enabled(False), fill, poutine.trace() as tracer:
            if self.evaluator is None:
                Missing(self.missing)(self.model)(*self.args)
            else:
                poutine.enum(Missing(self.missing)(self.model), first_available_dim=-1 - self.nesting)(*self.args)
        return tracer.trace

    def _run(self, fill: Fill) -> None:
        with whole_plates(), pyro.validation_enabled(False), fill:
            Missing(self.missing)(self.model)(*self.args)


class _Anew(poutine.messenger.Messenger):
    """Draws observed sites anew."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: set[str] = set()

    def _pyro_sample(self, msg: Any) -> None:
        if is_data(msg):
            self.drawn.add(msg["name"])
            msg["value"], msg["done"] = msg["fn"].sample(), True


def _derived(node: Any) -> bool:
    return node["type"] == "sample" and bool((node["infer"] or {}).get("_deterministic", False))


def _masked(value: Tensor, node: Any) -> Tensor:
    mask = node["mask"]
    if mask is None or mask is True:
        return value
    full = torch.as_tensor(mask).reshape(*torch.as_tensor(mask).shape, *(1,) * node["fn"].event_dim)
    return torch.where(full, value.to(torch.get_default_dtype()), math.nan)


def _stack(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@contextmanager
def fixed_seed(seed: int) -> Iterator[None]:
    """Draws of torch's global generator come from a seed in here, and its state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
