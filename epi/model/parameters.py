"""The parameters of a study as Pyro sites and as a parameter space."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions.transforms import SigmoidTransform

from calib import ParameterSpace, space_from_pyro
from epi.study import Beta, Gamma, HalfNormal, LogitNormal, LogNormal, Normal, Parameter, Prior, Study, Uniform

__all__ = ["distribution", "parameter_space", "sample_parameters"]


def distribution(prior: Prior) -> TorchDistribution:
    """A prior as a Pyro distribution of torch's default type.

    Raises:
        TypeError: it is of no known family.
    """
    real = torch.tensor
    if isinstance(prior, Normal):
        return dist.Normal(real(prior.mean), real(prior.sd))
    if isinstance(prior, LogNormal):
        return dist.LogNormal(real(prior.location), real(prior.sd))
    if isinstance(prior, LogitNormal):
        return dist.TransformedDistribution(dist.Normal(real(prior.location), real(prior.sd)), [SigmoidTransform()])
    if isinstance(prior, Gamma):
        return dist.Gamma(real(prior.shape), real(1 / prior.scale))
    if isinstance(prior, Beta):
        return dist.Beta(real(float(prior.a)), real(float(prior.b)))
    if isinstance(prior, Uniform):
        return dist.Uniform(real(float(prior.low)), real(float(prior.high)))
    if isinstance(prior, HalfNormal):
        return dist.HalfNormal(real(float(prior.sd)))
    raise TypeError(f"prior {prior!r} is of no known family; use one of epi's priors.")


def sample_parameters(study: Study) -> dict[str, Tensor]:
    """Draw every parameter as a Pyro site: numbers, and vectors as events."""
    return {p.name: _sample(p) for p in study.parameters()}


def _sample(p: Parameter) -> Tensor:
    fn = distribution(p.prior)
    if p.labels:
        fn = fn.expand(torch.Size([len(p.labels)])).to_event(1)
    described: Any = {"unit": p.prior.unit, "reason": p.prior.description, "labels": p.labels}
    value: Tensor = pyro.sample(p.name, fn, infer=described)
    return value


def parameter_space(study: Study) -> ParameterSpace:
    """The parameters of a study as a vector of standard normals."""
    return space_from_pyro(sample_parameters, study)
