"""Between Pyro model functions and the rest of this package.

Convention. A model is an ordinary Pyro function whose every site is one event: scalars, or vectors by
`.to_event(1)`, with observed sites by `.to_event` too and no plates. It is run for P particles at once under
one outermost plate, so a scalar site has the value `[P]`, a vector `[P, n]`, and the model's arithmetic must
carry leading batch axes. A model with plates of its own works as well: pass their number as
`max_plate_nesting`, and a scalar site outside them is then `[P, 1]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from calib._flows import Flow
from calib._space import Parameter, ParameterSpace

Model = Callable[..., Any]


def _is_latent(site: Any) -> bool:
    return site["type"] == "sample" and not site["is_observed"] and not poutine.util.site_is_subsample(site)


def _is_data(name: str, site: Any, theta: Mapping[str, Tensor]) -> bool:
    deterministic = (site["infer"] or {}).get("_deterministic", False)
    return bool(site["is_observed"]) and name not in theta and not deterministic


class _AllFound(Exception):
    """Raised to leave a model once its last prior has been read."""


class _Stop(Messenger):
    """Collects the distributions of named sites and leaves the model after the last."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.missing, self.found = set(names), dict[str, Any]()

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.missing:
            self.found[msg["name"]] = msg["fn"]
            self.missing.discard(msg["name"])
            if not self.missing:
                raise _AllFound


def _same_density(a: Any, b: Any, value: Tensor) -> bool:
    return a.batch_shape == b.batch_shape and torch.equal(a.log_prob(value), b.log_prob(value))


def space_from_pyro(
    model: Model,
    *args: Any,
    labels: Mapping[str, tuple[str, ...] | list[str]] | None = None,
    units: Mapping[str, str] | None = None,
    reasons: Mapping[str, str] | None = None,
    seed: int = 0,
    **kwargs: Any,
) -> ParameterSpace:
    """Read the unobserved sample sites of a model as a parameter space.

    The model runs once in full and once as far as its last prior, under a fixed seed that leaves the global
    random state alone. `infer={"unit": ..., "reason": ...}` on a site is read where `units` and `reasons` say
    nothing.

    Args:
        model: Pyro model function.
        *args: what the model is called with.
        labels: names of the entries of vector sites.
        units: unit of a site, in words.
        reasons: where the prior of a site comes from.
        seed: of the draws made on the way.
        **kwargs: passed to the model.

    Returns:
        The space, in the order in which the model draws.

    Raises:
        ValueError: if the model has no unobserved site, a prior depends on another site's value, a prior has
            no map to a
            standard normal, or labels name no site.
    """
    labels, units, reasons = dict(labels or {}), dict(units or {}), dict(reasons or {})
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        sites: dict[str, Any] = {
            name: site
            for name, site in poutine.trace(model).get_trace(*args, **kwargs).nodes.items()
            if _is_latent(site)
        }
        if not sites:
            raise ValueError("the model has no unobserved sample site: nothing can be inferred from it")
        repeated = _Stop(set(sites))
        torch.manual_seed(seed + 1)
        try:
            with repeated:
                model(*args, **kwargs)
        except _AllFound:
            pass
    unknown = [name for name in (*labels, *units, *reasons) if name not in sites]
    if unknown:
        raise ValueError(
            f"{unknown[0]!r} was described but is no unobserved site of the model, which has {', '.join(sites)}"
        )
    parameters = []
    for name, site in sites.items():
        if name not in repeated.found or not _same_density(site["fn"], repeated.found[name], site["value"]):
            raise ValueError(
                f"the prior of site {name!r} depends on the value of another site: write it as a function "
                "of independent "
                "sites, for instance location + scale * standardised"
            )
        infer = site["infer"]
        parameters.append(
            Parameter(
                name,
                site["fn"],
                unit=units.get(name, infer.get("unit", "")),
                reason=reasons.get(name, infer.get("reason", "")),
                labels=tuple(labels.get(name, infer.get("labels", ()))),
                plates=tuple(frame.name for frame in site["cond_indep_stack"]),
            )
        )
    return ParameterSpace(tuple(parameters))


class _Fix(Messenger):
    """Gives sample sites the values of P particles, with the axes that their plates expect."""

    def __init__(self, theta: Mapping[str, Tensor], nesting: int) -> None:
        super().__init__()
        self.theta, self.nesting = theta, nesting
        self.used: set[str] = set()

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.theta or msg["done"]:
            return
        value = self.theta[msg["name"]]
        inner = value.ndim - 1 - msg["fn"].event_dim  # batch axes between the particles and the event
        if inner < 0 or inner > self.nesting:
            raise ValueError(
                f"theta[{msg['name']!r}] has shape {tuple(value.shape)}, but the site has "
                f"{msg['fn'].event_dim} event axes and at "
                f"most {self.nesting} plates: expected [particle, *plates, *event]"
            )
        msg["value"] = value.reshape(value.shape[0], *(1,) * (self.nesting - inner), *value.shape[1:])
        msg["is_observed"] = True
        self.used.add(msg["name"])


def run_particles(
    model: Model, theta: Mapping[str, Tensor], *args: Any, max_plate_nesting: int = 0, **kwargs: Any
) -> poutine.Trace:
    """Run a model once for P particles with its unobserved sites fixed.

    Args:
        model: Pyro model function.
        theta: every unobserved site by name, `[particle, *site]`.
        *args: what the model is called with.
        max_plate_nesting: number of nested plates inside the model.
        **kwargs: passed to the model.

    Returns:
        The trace; the value of each site has a leading particle axis.

    Raises:
        ValueError: if the particles of theta differ in number, theta names a site that the model has not, or
            leaves one out.
    """
    counts = {value.shape[0] if value.ndim else 0 for value in theta.values()}
    if len(counts) != 1 or 0 in counts:
        shapes = {name: tuple(value.shape) for name, value in theta.items()}
        raise ValueError(
            f"theta has the shapes {shapes}, expected one leading particle axis of the same length for all"
        )
    fix = _Fix(theta, max_plate_nesting)
    plate = pyro.plate("_particles", counts.pop(), dim=-1 - max_plate_nesting)
    with poutine.trace() as tracer, plate, fix:
        model(*args, **kwargs)
    left = [name for name, site in tracer.trace.nodes.items() if _is_latent(site)]
    extra = sorted(set(theta) - fix.used)
    if left or extra:
        what = f"leaves out {left[0]!r}" if left else f"has {extra[0]!r}, which is no site of the model"
        raise ValueError(f"theta {what}: give exactly the unobserved sites of the model")
    return tracer.trace


def log_likelihood(
    model: Model, theta: Mapping[str, Tensor], *args: Any, max_plate_nesting: int = 0, **kwargs: Any
) -> dict[str, Tensor]:
    """Log likelihood of each observed site for P particles, in one run of the model.

    Args:
        model: Pyro model function.
        theta: every unobserved site by name, `[particle, *site]`.
        *args: what the model is called with.
        max_plate_nesting: number of nested plates inside the model.
        **kwargs: passed to the model.

    Returns:
        For each observed site, `[particle]`, differentiable with respect to theta. Masks and scales of Pyro
        are respected.

    Raises:
        ValueError: as `run_particles`, or if the model has no observed site.
    """
    trace = run_particles(model, theta, *args, max_plate_nesting=max_plate_nesting, **kwargs)
    particles = next(iter(theta.values())).shape[0]
    trace.compute_log_prob(lambda name, site: _is_data(name, site, theta))
    out = {}
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and _is_data(name, site, theta):
            out[name] = site["log_prob"].reshape(particles, -1).sum(-1)
    if not out:
        raise ValueError(
            "the model has no observed site: condition it on data (obs=...) before asking for its likelihood"
        )
    return out


class FlowDist(dist.TorchDistribution):
    """A `Flow` as a Pyro distribution; `rsample` and the `log_prob` of that sample share one pass.

    `rsample` draws from torch's global random state, as every Pyro distribution does.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (Pyro's interface)
    support = dist.constraints.real_vector
    has_rsample = True

    def __init__(self, flow: Flow, batch_shape: torch.Size | tuple[int, ...] = ()) -> None:
        self.flow = flow
        self._last: tuple[Tensor, Tensor] | None = None
        super().__init__(torch.Size(batch_shape), torch.Size((flow.dim,)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDist:
        """The same flow with another batch shape: its entries are independent draws."""
        return FlowDist(self.flow, torch.Size(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised draws `[*sample, *batch, D]`."""
        like = self.flow.like
        shape = (*sample_shape, *self.batch_shape, self.flow.dim)
        z, log_q = self.flow.sample_with_log_prob(torch.randn(shape, dtype=like.dtype, device=like.device))
        self._last = (z, log_q)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density `[*batch]` of `value [*batch, D]`."""
        if self._last is not None and value is self._last[0]:
            return self._last[1]
        return self.flow.log_prob(value)


def flow_guide(space: ParameterSpace, flow: Flow, *, site: str = "_z") -> Callable[..., dict[str, Tensor]]:
    """A Pyro guide that draws every site of the model from a flow on z.

    An auxiliary site holds z; each parameter is then a point mass at its value, with the log density that
    makes the joint density of the guide the flow's density in the parameters' own units. Works with
    `Predictive` and `Trace_ELBO`, for models without plates of their own.

    Args:
        space: the parameters.
        flow: distribution of z; its weights are registered with Pyro as a module.
        site: name of the auxiliary site.

    Returns:
        The guide; it takes and ignores the model's arguments.

    Raises:
        ValueError: if the dimensions differ or a parameter stands in a plate.
    """
    if flow.dim != space.dim:
        raise ValueError(
            f"the flow has {flow.dim} dimensions and the space {space.dim}: make the flow with dim=space.dim"
        )
    for p in space.parameters:
        if p.plates:
            raise ValueError(
                f"site {p.name!r} stands in plate {p.plates[0]!r}, which the flow guide cannot enter: make "
                "it a vector by "
                ".expand([n]).to_event(1)"
            )

    def guide(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        del args, kwargs  # a guide takes what its model takes
        if any(p.requires_grad for p in flow.parameters()):  # a fitted flow has nothing left to learn
            pyro.module("flow", flow)
        z = pyro.sample(site, FlowDist(flow), infer={"is_auxiliary": True})
        theta, log_slope = space.to_theta(z), space.log_slope(z)
        return {
            p.name: pyro.sample(
                p.name, dist.Delta(theta[p.name], log_density=-log_slope[p.name], event_dim=len(p.shape))
            )
            for p in space.parameters
        }

    return guide
