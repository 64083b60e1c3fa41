"""Reads an ordinary Pyro model: its sites, how they are mapped, and how many particles can be evaluated together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to

from calib._maps import is_discrete, normal_map
from calib._pyro_density import PyroDensity, Way, fixed_seed
from calib._pyro_sites import Fill, How, Missing, Site, conditional_map, is_enumerated, is_latent, whole_plates
from calib._space import Parameter, ParameterSpace

TRIED = 3  # particles on which the ways must agree
PROPOSED = 30  # draws among which those are looked for


def read_pyro(model: Callable[..., Any], *args: Any, centred: bool = False, seed: int = 0) -> PyroDensity:
    """Read a Pyro model as a log density on z.

    Args:
        model: an ordinary Pyro model function: plates of any kind, dependent priors, `pyro.deterministic`,
            `pyro.factor`, masks, and discrete sites that are observed or marked `infer={"enumerate": "parallel"}`.
        *args: what it is called with.
        centred: whether priors that depend on other sites are mapped by their support instead of their own
            quantiles; better where data say much about each local site.
        seed: of the draws made on the way.

    Returns:
        The density, with the fastest way of evaluation that agrees with one particle after another.

    Raises:
        ValueError: no site is unobserved or none is observed, a discrete site is neither observed nor enumerated,
            a site is a `pyro.param`, or sites change from run to run.
    """
    error: Exception | None = None
    for dtype in dict.fromkeys((torch.float64, torch.get_default_dtype())):
        try:
            return _read(model, args, dtype, centred, seed)
        except (RuntimeError, TypeError) as failed:  # arithmetic between data of one precision and sites of another
            error = failed
    raise ValueError(
        f"the model cannot be run for one particle ({str(error).splitlines()[0]}): each site is a scalar there, or of its own shape."
    ) from error


def _read(
    model: Callable[..., Any], args: tuple[Any, ...], dtype: torch.dtype, centred: bool, seed: int
) -> PyroDensity:
    (first, missing), (second, _) = (_trace(model, args, dtype, at) for at in (seed, seed + 1))
    _refuse(first)
    latent, other = (
        [name for name, node in trace.nodes.items() if is_latent(node) and not is_enumerated(node)]
        for trace in (first, second)
    )
    enumerated = any(is_latent(node) and is_enumerated(node) for node in first.nodes.values())
    if latent != other:
        raise ValueError("the model's unobserved sites change from run to run: every run must have the same.")
    if not latent:
        raise ValueError("the model has no unobserved sample site: nothing can be inferred from it")
    if not any(n["type"] == "sample" and n["is_observed"] and not _deterministic(n) for n in first.nodes.values()):
        raise ValueError("the model has no observed site: condition it on data (obs=...) before it is calibrated")
    for node in first.nodes.values():
        _check_shape(node)
    sites = {n: _site(n, first.nodes[n], second.nodes[n], enumerated, centred) for n in latent}
    frames = [frame for node in first.nodes.values() for frame in node.get("cond_indep_stack", ())]
    nesting = max((-frame.dim for frame in frames if frame.dim is not None), default=0)
    space = None
    if all(site.how == "prior" for site in sites.values()) and not enumerated:
        space = ParameterSpace(tuple(_parameter(sites[name], first.nodes[name]) for name in latent))
    density = PyroDensity(model, args, sites, space, nesting, dtype, missing)
    return _with_way(_with_enumeration(density) if enumerated else density, seed)


def _deterministic(node: Any) -> bool:
    return bool((node["infer"] or {}).get("_deterministic", False))


def _trace(
    model: Callable[..., Any], args: tuple[Any, ...], dtype: torch.dtype, seed: int
) -> tuple[poutine.Trace, frozenset[str]]:
    """One run at draws of the prior, and the observed sites with missing values; improper priors start amid their support."""
    missing = Missing()
    with (
        fixed_seed(seed),
        torch.no_grad(),
        whole_plates(),
        pyro.validation_enabled(False),
        _Draw(dtype),
        poutine.trace() as tracer,
    ):
        missing(model)(*args)
    return tracer.trace, frozenset(missing.found)


class _Draw(Messenger):
    """Draws unobserved sites in the precision of z."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def _pyro_sample(self, msg: Any) -> None:
        if not is_latent(msg) or is_discrete(msg["fn"]):
            return
        try:
            value = msg["fn"].sample()
        except NotImplementedError:
            transform = biject_to(msg["fn"].support)
            value = transform(2 * torch.rand(transform.inverse_shape(msg["fn"].shape())) - 1)
        msg["value"], msg["done"] = value.to(self.dtype), True


def _refuse(trace: poutine.Trace) -> None:
    node: Any
    for name, node in trace.nodes.items():
        if node["type"] == "param":
            raise ValueError(f"site {name!r} is a pyro.param, which has no posterior: give it a prior by pyro.sample.")
        if is_latent(node) and is_discrete(node["fn"]) and not is_enumerated(node):
            raise ValueError(
                f"site {name!r} is discrete ({type(node['fn']).__name__}) and not observed: mark it "
                "infer={'enumerate': 'parallel'} so that it is summed over, or write the mixture itself."
            )


def _check_shape(node: Any) -> None:
    """Refuse observations that a plate would count more than once.

    Raises:
        ValueError: the log density of a site in plates does not have their shape.
    """
    frames = [frame for frame in node.get("cond_indep_stack", ()) if frame.vectorized]
    if not frames or node["type"] != "sample" or not node["is_observed"] or _deterministic(node):
        return
    expected = [1] * max(-frame.dim for frame in frames)
    for frame in frames:
        expected[frame.dim] = frame.size
    with pyro.validation_enabled(False):
        shape = tuple(node["fn"].log_prob(node["value"]).shape)
    padded = (1,) * (len(expected) - len(shape)) + shape
    if len(padded) > len(expected) or any(n not in (1, size) for n, size in zip(padded, expected, strict=True)):
        raise ValueError(
            f"the log density of site {node['name']!r} has shape {shape}, but its plates have shape {tuple(expected)}: give data the "
            "shape of the plates, and make further axes events by .to_event."
        )


def _site(name: str, node: Any, other: Any, enumerated: bool, centred: bool) -> Site:
    fn, infer, shape = node["fn"], node["infer"] or {}, tuple(node["fn"].shape())
    about: dict[str, Any] = {key: infer.get(key, "") for key in ("unit", "reason")}
    about["labels"] = tuple(infer.get("labels", ()))
    how: How = "support"
    scaled = isinstance(node["scale"], Tensor) or node["scale"] != 1.0
    if not scaled and _same_density(fn, other["fn"], node["value"]):
        try:
            prior = normal_map(name, fn)
            return Site(name, shape, _parameter_shape(fn), "prior", prior, **about)
        except ValueError:
            how = "support"
    mapped = None if scaled or enumerated or centred else conditional_map(name, fn)
    if mapped is not None and _parameter_shape(fn) == shape:
        return Site(name, shape, shape, "conditional", None, **about)
    try:
        free = tuple(biject_to(fn.support).inverse_shape(torch.Size(shape)))
    except NotImplementedError:
        raise ValueError(
            f"the prior of site {name!r} is a {type(fn).__name__}, whose support has no map from unbounded coordinates: use "
            "another family."
        ) from None
    return Site(name, shape, free, how, None, **about)


def _parameter_shape(fn: Any) -> tuple[int, ...]:
    return Parameter("_", fn).free_shape


def _parameter(site: Site, node: Any) -> Parameter:
    plates = tuple(frame.name for frame in node["cond_indep_stack"] if frame.vectorized)
    return Parameter(site.name, node["fn"], unit=site.unit, reason=site.reason, labels=site.labels, plates=plates)


def _same_density(a: Any, b: Any, value: Tensor) -> bool:
    if type(a) is not type(b) or a.batch_shape != b.batch_shape:
        return False
    with pyro.validation_enabled(False):
        return torch.equal(a.log_prob(value), b.log_prob(value))


def _with_enumeration(density: PyroDensity) -> PyroDensity:
    """Pyro's own sum over enumerated sites, which learns from one trace how they hang together."""
    ready = replace(density, evaluator=True)
    trace = ready._trace(Fill(density.sites, torch.zeros(density.dim, dtype=density.dtype)))
    with pyro.validation_enabled(False):
        return replace(density, evaluator=TraceEinsumEvaluator(trace, True, density.nesting))


def _with_way(density: PyroDensity, seed: int) -> PyroDensity:
    """The fastest way that agrees with one particle after another, in value and in derivative."""
    z = _points(density, seed)
    expected, slope = _value_and_slope(density, z, 0)
    repeated, _ = _value_and_slope(density, z, 1)
    if not torch.equal(expected, repeated):
        density = replace(density, random=True)
        return density
    ways: tuple[Way, ...] = ("plate", "vmap") if density.space is not None else ("vmap",)
    for way in ways:
        faster = replace(density, way=way)
        try:
            agree = all(
                _close(expected[:n], slope[:n], *_value_and_slope(faster, z[:n], 0)) for n in (len(z), len(z) - 1)
            )
        except Exception:
            continue
        if agree:
            return faster
    return density


def _points(density: PyroDensity, seed: int) -> Tensor:
    """Coordinates at which the density is finite, `[P, D]`, or any if there are none."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(PROPOSED, density.dim, generator=generator, dtype=torch.float64)
    good: list[Tensor] = []
    for row in z:
        if len(good) < TRIED and bool(torch.isfinite(density.log_weight(row[None])).all()):
            good.append(row)
    return torch.stack(good) if len(good) >= 2 else z[:TRIED]


def _value_and_slope(density: PyroDensity, z: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    leaf = z.clone().requires_grad_()
    value = density.evaluate(leaf, seed)
    if not value.requires_grad:
        return value.detach(), torch.zeros_like(z)
    (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True, materialize_grads=True)
    return value.detach(), slope


def _close(a: Tensor, slope_a: Tensor, b: Tensor, slope_b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    rough = 1e-6 if a.dtype == torch.float64 else 1e-3
    scale = slope_a.abs().amax(1, keepdim=True)
    near = torch.allclose(
        slope_a / scale, slope_b / scale, rtol=math.sqrt(rough), atol=math.sqrt(rough), equal_nan=True
    )
    return torch.allclose(a, b, rtol=rough, atol=rough, equal_nan=True) and near
