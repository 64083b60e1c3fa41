"""Factual and counterfactual worlds over posterior draws: one after the other, or all in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from chirho.counterfactual.handlers import MultiWorldCounterfactual
from chirho.indexed.ops import IndexSet, gather
from chirho.interventional.handlers import do
from torch import Tensor

from epi.scenarios.outcome import EVENT, MEASURES, Outcome
from epi.scenarios.scenario import World, same
from epi.scenarios.world import WorldSimulator, what_if_model

Advance = Callable[[int], None]


class OnePlate(MultiWorldCounterfactual):
    """All interventions split along one plate, `world`: a world is a set of actions, not one of all their combinations."""

    @classmethod
    def _pyro_split(cls, msg: dict[str, Any]) -> None:
        msg["kwargs"]["name"] = msg["name"] = "world"


def run_looped(
    simulator: WorldSimulator,
    theta: Mapping[str, Tensor],
    worlds: Sequence[World],
    seed: int,
    *,
    batch: int = 8,
    advance: Advance | None = None,
) -> Outcome:
    """One world after the other, by `do` alone: memory of one world.

    Args:
        simulator: of the worlds.
        theta: posterior draws of all parameters and assumptions, `[S, *event]`.
        worlds: W sets of actions; an empty one is the calibrated world.
        seed: of the epidemics; draw s has the random stream s in every world.
        batch: draws simulated at once.
        advance: told how many runs were done.

    Returns:
        Outcome with leading axes `[W, S]`.
    """
    rows = []
    for world in worlds:
        parts = []
        for part, streams in _parts(theta, batch):
            with do(actions=dict(world)):
                parts.append(_sites(simulator, part, seed, streams))
            if advance:
                advance(len(streams))
        rows.append([torch.cat([p[m] for p in parts]) for m in range(len(MEASURES))])
    return Outcome(*(torch.stack([row[m] for row in rows]) for m in range(len(MEASURES))))


def run_together(
    simulator: WorldSimulator,
    theta: Mapping[str, Tensor],
    worlds: Sequence[World],
    seed: int,
    *,
    batch: int = 8,
    advance: Advance | None = None,
) -> Outcome:
    """All worlds in one batch through `MultiWorldCounterfactual`: memory of all worlds at once; otherwise as `run_looped`."""
    sites = list(dict.fromkeys(site for world in worlds for site in world))
    if not sites:  # nothing to split: every world is the calibrated one
        return run_looped(simulator, theta, worlds, seed, batch=batch, advance=advance)
    actions = {site: tuple(world.get(site, same) for world in worlds) for site in sites}
    parts = []
    for part, streams in _parts(theta, batch):
        with OnePlate(first_available_dim=-2), do(actions=actions):
            values = _sites(simulator, part, seed, streams)
            chosen = IndexSet(world=set(range(1, len(worlds) + 1)))
            parts.append([gather(v, chosen, event_dim=EVENT[m]) for m, v in zip(MEASURES, values, strict=True)])
        if advance:
            advance(len(streams) * len(worlds))
    return Outcome(*(torch.cat([p[m] for p in parts], dim=1) for m in range(len(MEASURES))))


def _parts(theta: Mapping[str, Tensor], batch: int) -> list[tuple[dict[str, Tensor], Tensor]]:
    draws = len(next(iter(theta.values())))
    starts = range(0, draws, batch)
    return [({n: x[s : s + batch] for n, x in theta.items()}, torch.arange(s, min(s + batch, draws))) for s in starts]


def _sites(simulator: WorldSimulator, theta: dict[str, Tensor], seed: int, streams: Tensor) -> list[Tensor]:
    """The outcomes of the model at given draws, under the handlers of the caller."""
    run = what_if_model(simulator, seed, streams)
    # the counts that the model also draws are not looked at; the seed keeps them off the global random state
    with torch.no_grad(), pyro.poutine.seed(rng_seed=0), pyro.plate("draw", len(streams), dim=-1):
        trace = pyro.poutine.trace(pyro.condition(run, data=theta)).get_trace()
    values = [trace.nodes[name]["value"] for name in MEASURES]
    return [value for value in values if value is not None]
