"""Federated against pooled: log density, gradient, information, Gauss-Newton and chains, and what the messages cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from calib.federated import FederatedObservations, Sums
from calib.multifidelity import EmulatorPosterior, Problem, Recorder, run_chains, warm_start
from epi.data import Layout
from experiments.federated._build import Ready
from experiments.federated._holders import grouped
from experiments.federated._sites import in_process, processes

POINTS = 16


def gauss_newton(ready: Ready, apart: Problem) -> dict[str, float]:
    """Largest differences of mean and covariance, in posterior standard deviations."""
    found, wanted = (warm_start(p, ready.settings, Recorder()) for p in (apart, ready.posterior.problem))
    sd = wanted.covariance.diagonal().sqrt()
    return {
        "mean_sd": float(((found.z - wanted.z) / sd).abs().max()),
        "covariance_sd": float(((found.covariance - wanted.covariance) / torch.outer(sd, sd)).abs().max()),
    }


def points(ready: Ready, seed: int = 0) -> Tensor:
    """`[P, D]` draws of the flow."""
    with torch.no_grad():
        return ready.flow.sample(POINTS, torch.Generator().manual_seed(seed))


def densities(ready: Ready, apart: Problem) -> dict[str, float]:
    """Largest differences at draws: log density in nats, gradient and information in units of the posterior's standard deviations."""
    z = points(ready)
    other = EmulatorPosterior(apart, ready.posterior.emulator)
    errors = ready.posterior.shared_error(z.mean(0))
    noise = torch.randn(len(z), errors.count, generator=torch.Generator().manual_seed(1), dtype=z.dtype)
    both = torch.cat([z, noise], 1)
    (value, slope), (wanted, expected) = (p.joint(errors).with_slope(both) for p in (other, ready.posterior))
    at = (z, ready.posterior.emulator(z), ready.posterior.emulator.jacobian(z))
    known, pooled = (p.observations.information(*at) for p in (apart, ready.posterior.problem))
    sd = torch.cat([z.std(0), torch.ones(errors.count)])
    return {
        "log_density_nats": float((value - wanted).abs().max()),
        "gradient_sd": float(((slope - expected) * sd).abs().max()),
        "information_sd": float(((known - pooled) * torch.outer(z.std(0), z.std(0))).abs().max()),
    }


def chains(ready: Ready, apart: Problem) -> dict[str, float]:
    """R-hat of chains on the federated and on the pooled posterior together, of the pooled ones alone, and the shift of the means.

    The seeds differ; means are within Monte-Carlo error where the shift is a few times its standard error.
    """
    errors = ready.posterior.shared_error(points(ready).mean(0))
    draws, dim = ready.settings.chain_draws, apart.space.dim
    other = EmulatorPosterior(apart, ready.posterior.emulator)
    found, wanted = (
        run_chains(p, ready.flow, errors, seed, Recorder(), draws) for p, seed in ((other, 1), (ready.posterior, 2))
    )
    joined = replace(wanted, z=torch.cat([found.z, wanted.z], 1)[..., :dim])
    alone = replace(wanted, z=wanted.z[..., :dim])
    mine, theirs = (x.z[..., :dim].flatten(0, 1) for x in (found, wanted))
    shift = (mine.mean(0) - theirs.mean(0)).abs() / theirs.std(0)
    return {
        "r_hat": float(joined.r_hat.max()),
        "r_hat_pooled": float(alone.r_hat.max()),
        "mean_sd": float(shift.max()),
        "mean_standard_errors": float((shift / (2 / alone.effective).sqrt()).max()),
    }


def ledger(ready: Ready, layout: Layout, found: Mapping[str, pd.DataFrame], counts: list[int]) -> pd.DataFrame:
    """Rounds, bytes and seconds of one density with its gradient at 64 points, and one information, by number of sites and kind of sum."""
    rows = []
    z = ready.flow.sample(64, torch.Generator().manual_seed(3)).detach()
    for sites in counts:
        sums: Sums
        for sums in ("plain", "secure"):
            apart = in_process(ready.posterior.problem, layout, grouped(found, sites), sums)
            own = apart.observations
            assert isinstance(own, FederatedObservations)
            likelihood = EmulatorPosterior(apart, ready.posterior.emulator).fit_problem()
            book = own.federation.ledger
            for kind in ("density", "information"):
                before = book.total()
                if kind == "density":
                    likelihood.log_likelihood(z, 0, "reverse")
                else:
                    at = z[:1]
                    own.information(at, ready.posterior.emulator(at), ready.posterior.emulator.jacobian(at))
                after = book.total()
                rows.append(
                    {
                        "sites": len(own.federation.sites),
                        "sums": sums,
                        "request": kind,
                        **{k: after[k] - before[k] for k in after},
                    }
                )
            own.federation.close()
    return pd.DataFrame(rows)


def over_processes(
    ready: Ready, layout: Layout, found: Mapping[str, pd.DataFrame], folder: Path, *, sites: int, with_chains: bool
) -> dict[str, Any]:
    """All comparisons with sites in processes of their own, plain sums; and densities by secure sums."""
    out: dict[str, Any] = {}
    own, study = ready.posterior.problem, ready.study.config.study
    for sums in ("plain", "secure"):
        with processes(own, layout, grouped(found, sites), sums, study=study, folder=folder) as apart:
            result: dict[str, Any] = densities(ready, apart)
            if sums == "plain":
                result |= {f"gauss_newton_{k}": v for k, v in gauss_newton(ready, apart).items()}
                if with_chains:
                    result |= {f"chains_{k}": v for k, v in chains(ready, apart).items()}
            assert isinstance(apart.observations, FederatedObservations)
            federation = apart.observations.federation
            out[sums] = {"sites": len(federation.sites), **result, **federation.ledger.total()}
    return out
