"""The method "hmc" of `calibrate`: chains on the log density of a Pyro model or of a simulator with derivatives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from calib._hamiltonian import Chains
from calib._hmc_method import Sampled, assess_chains, joined, log_posterior, sample_density, summary
from calib._methods import Fitted, Task, flow_at
from calib._noise import derive_seed
from calib._pyro_density import PyroDensity
from calib._pyro_read import read_pyro
from calib._pyro_space import DependentSpace
from calib._reuse import Round
from calib._verdict import CalibrationVerdict

ENOUGH = 10  # draws for each dimension whose covariance the other form starts with
ORDER = ("good", "usable", "poor", "unfinished")


def by_hmc(task: Task) -> Fitted:
    """Hamiltonian chains on the log density itself (`sample_density`), then a flow at their draws.

    A Pyro model whose priors depend on each other is tried in its non-centred form first, and in its centred form with what is left
    if those chains are not good.

    Raises:
        ValueError: there are no derivatives, or the log likelihood changes from run to run.
    """
    source = task.source
    if source.gradient != "reverse":
        raise ValueError("method='hmc' follows derivatives of the log likelihood: use gradient='reverse'.")

    seed = derive_seed(task.seed, 0, "hmc-simulate")
    refuse_chance(task)

    def log_likelihood(z: Tensor) -> Tensor:
        value = source.log_likelihood(source.simulate(z, seed))  # the chart of this method is z itself
        if not value.requires_grad:
            raise ValueError(
                "the log likelihood has no gradient: keep the graph, or use another method with gradient='score'."
            )
        return task.loss_weight * value

    if task.earlier is not None:
        return _further(task, log_likelihood)
    two_forms = task.density is not None and any(site.how == "conditional" for site in task.density.sites.values())
    report = _reporter(task.progress)
    first = sample_density(
        log_posterior(log_likelihood), task.space.dim, budget=task.budget, seed=task.seed, leave_stuck=two_forms, deadline=task.deadline,
        progress=report,
    )  # fmt: skip
    told, chains, spent, form = assess_chains(first, task.space.names, task.allowance), first.chains, first.spent, "own"
    if two_forms and told.state != "good" and not task.deadline.passed() and task.budget - spent >= task.budget // 4:
        assert task.density is not None
        second = _centred(task, task.density, chains, task.budget - spent)
        repeated, spent = assess_chains(second, task.space.names, task.allowance), spent + second.spent
        if ORDER.index(repeated.state) < ORDER.index(told.state):
            told, chains, form = repeated, second.chains, "centred"
    return _fitted(task, chains, told, spent, form)


def _fitted(task: Task, chains: Chains, told: CalibrationVerdict, spent: int, form: str) -> Fitted:
    """A flow at the draws, and what the report says."""
    z = chains.z.flatten(0, 1)
    report = {
        "weight": 1.0, "simulations": spent, "calls": spent, "dropped": 0, "rounds": [], "sampler": summary(chains),
        "stopped_because": told.evidence.stopped_because, "form": form,
    }  # fmt: skip
    flow = flow_at("gaussian" if task.flow == "auto" else task.flow, z, task.seed)
    return Fitted(flow, None, None, report, chains, told)


def _further(task: Task, log_likelihood: Callable[[Tensor], Tensor]) -> Fitted:
    """As many chains, started where the earlier ones are; the earlier draws count if all together are judged no worse.

    Raises:
        ValueError: the earlier call made no chains.
    """
    before = task.earlier
    if before is None or before.chains is None:
        raise ValueError("chains can go on only from chains, and the earlier call made none: calibrate again.")
    old, form = before.chains, before.told["form"]
    if form == "centred":
        assert task.density is not None
        found = _centred(task, task.density, old, task.budget)
    else:
        found = sample_density(
            log_posterior(log_likelihood), task.space.dim, budget=task.budget, seed=task.seed, start=old.z.flatten(0, 1),
            number=old.z.shape[1], deadline=task.deadline, progress=_reporter(task.progress),
        )  # fmt: skip
    chains, told = found.chains, assess_chains(found, task.space.names, task.allowance)
    if old.z.shape[1] == chains.z.shape[1]:
        both = joined(old, chains)
        of_both = assess_chains(replace(found, chains=both), task.space.names, task.allowance)
        if ORDER.index(of_both.state) <= ORDER.index(told.state):
            chains, told = both, of_both
    return _fitted(task, chains, told, found.spent, form)


def _reporter(progress: Callable[[Any], None] | None) -> Callable[[int, int], None] | None:
    """Transitions as the rounds that `progress` takes."""
    if progress is None:
        return None
    started = time.perf_counter()

    def report(done: int, of: int) -> None:
        progress(Round(done, 1.0, 1e9, 1e9, time.perf_counter() - started, of))

    return report


def _centred(task: Task, density: PyroDensity, chains: Chains, budget: int) -> Sampled:
    """Chains on the centred form of a Pyro model, started at draws of the other; their draws in its coordinates."""
    other = read_pyro(density.model, *density.args, centred=True)
    one, two = DependentSpace(density), DependentSpace(other)
    draws = chains.z.flatten(0, 1)
    some = draws[torch.linspace(0, len(draws) - 1, min(len(draws), ENOUGH * other.dim)).long()]
    start = two.to_z(one.to_theta(some))
    found = sample_density(
        log_posterior(other.log_weight), other.dim, budget=budget, seed=task.seed + 1, start=start, deadline=task.deadline,
        progress=_reporter(task.progress),
    )  # fmt: skip
    z = one.to_z(two.to_theta(found.chains.z))
    return replace(found, chains=replace(found.chains, z=z))


def refuse_chance(task: Task) -> None:
    """Refuse a log likelihood that changes with the seed.

    Raises:
        ValueError: it does.
    """
    z = torch.zeros(2, task.space.dim, dtype=torch.float64)
    with torch.no_grad():
        one, two = (task.source.value(task.source.simulate(z, seed)) for seed in (1, 2))
    if not torch.equal(one, two):
        raise ValueError(
            "the log likelihood changes with the seed, and chains need one function: use a method for simulators with noise, or a "
            "model that draws nothing outside its sites."
        )
