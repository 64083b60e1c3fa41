"""The epidemic by parties against the central run: equality, seconds and megabytes a day."""

from __future__ import annotations

import time

import pandas as pd
import torch

import protocols
import sim
from epi.inference.setup import Study
from epi.model.transmission import host_tables, make_rates
from epi.population.build import build_population
from sim import Population, Rates

DAYS = 30


def rates_of(study: Study, days: int) -> Rates:
    """Rates at the medians of the priors."""
    context, space = study.full.context, study.space
    theta = space.to_theta(torch.zeros(1, space.dim, dtype=torch.float64))
    rates = make_rates(theta, host_tables(theta, context), context)
    return rates.between(0, min(days, rates.days)).map(lambda x: x.double().contiguous())


def one(
    population: Population, rates: Rates, parties: int, seed: int, *, gradient: bool = False
) -> dict[str, float | bool]:
    """One comparison."""
    began = time.perf_counter()
    wanted = sim.epidemic(population, rates, seed, backend="compiled")
    central = time.perf_counter() - began
    cotangent = torch.ones_like(wanted) if gradient else None
    began = time.perf_counter()
    found = protocols.epidemic(population, rates, seed, parties=parties, cotangent=cotangent)
    seconds, days = time.perf_counter() - began, rates.days
    row: dict[str, float | bool] = {
        "agents": population.agents, "parties": parties, "days": days, "infections": float(wanted.sum()),
        "equal": bool(torch.equal(found.incidence, wanted)), "central_seconds_a_day": central / days, "seconds_a_day": seconds / days,
        "mb_a_day_a_party": max(x.sent for x in found.ledgers) / days / 1e6, "rounds_a_day": (found.ledgers[0].rounds - 1) / days,
    }  # fmt: skip
    if gradient:
        leaves = rates.map(lambda x: x.clone().requires_grad_())
        value = sim.epidemic(population, leaves, seed, backend="compiled", estimator="local-score")
        slopes = torch.autograd.grad(value.sum(), leaves.tensors(), allow_unused=True)
        assert found.gradient is not None
        pairs = [(x, y) for x, y in zip(found.gradient.tensors(), slopes, strict=True) if y is not None and y.numel()]
        row["gradient_difference"] = max(float((x - y).abs().max() / y.abs().max().clamp_min(1e-12)) for x, y in pairs)
    return row


def table(study: Study, agents: list[int], parties: list[int], seed: int) -> pd.DataFrame:
    """Equality and cost by number of agents and parties; populations are samples of the study's, or as large as it has people."""
    rates, rows = rates_of(study, DAYS), []
    people = study.short.observation.inhabitants.sum()
    for size in agents:
        scale = min(1.0, size / float(people))
        population, _ = build_population(study.epidemic_data, scale, seed, balance=study.config.balance)
        # the first run compiles
        protocols.epidemic(population, rates.between(0, 2), seed, parties=2)
        rows += [one(population, rates, n, seed, gradient=size <= 20_000 and n == parties[0]) for n in parties]
    return pd.DataFrame(rows)
