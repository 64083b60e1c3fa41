"""The epidemic once more, in plain tensors and by its definition: the audit's own, so that nothing is judged by the code it checks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sim import COMMUNITY, HOUSEHOLD, PERIOD, VENUES, Population, Rates

Infect = Callable[[int, Tensor], Tensor]
"""`day, hazard [P, N] -> infected [P, N]`, 0 or 1: decides who is infected. Agents not at risk have hazard 0."""


def epidemic(people: Population, rates: Rates, particles: int, infect: Infect) -> Tensor:
    """Walk through the days; `infect` decides who is infected, given the hazards.

    On day t agent i has the hazard `s_i (b_h H + response (b_c C + sum of b_v V) + importation)`, where H, C and V are the infectiousness
    met in its household, community and venues, and the response falls with the remembered incidence of its region.

    Args:
        people: agents and their groups.
        rates: of one particle, or of as many as `particles`.
        particles: P, epidemics walked through at once.
        infect: as `Infect`. Gradients flow through what it returns, if it has any.

    Returns:
        `[P, T, G]` new infections by particle, day and community group.
    """
    N, days, D = people.agents, rates.days, rates.infectious_days
    household, group, kind = (torch.as_tensor(x).long() for x in (people.household, people.group, people.archetype))
    region = torch.as_tensor(people.region_of_group).long()
    group_size, region_size = (torch.as_tensor(x).to(rates.mixing) for x in (people.group_size, people.region_size))
    at_home = torch.as_tensor(people.household_weight).to(rates.mixing)
    none = rates.mixing.new_zeros(particles, N)
    recent, never, last = [none] * D, none + 1, torch.full((particles, N), -1)
    memory = rates.mixing.new_zeros(particles, people.regions)
    incidence = []
    for t in range(days):
        b = rates.transmission[:, :, t, None]
        shed = sum((rates.infectiousness[:, kind, d] * recent[d] for d in range(D)), none)
        H = at_home * _sums(shed, household, people.households)
        mean = _sums(shed, group, people.groups) / group_size.clamp_min(1)
        away = (b[:, COMMUNITY] * torch.einsum("pgh,ph->pg", rates.mixing.expand(particles, -1, -1), mean))[:, group]
        for v, weight in enumerate(people.venue_weight):
            member = torch.as_tensor(people.venues[v] >= 0).nonzero()[:, 0]
            place = torch.as_tensor(people.venues[v]).long()[member]
            V = torch.as_tensor(weight).to(rates.mixing) * _sums(shed[:, member], place, len(weight))
            away = away.index_add(1, member, b[:, VENUES + v] * V[:, place])
        response = torch.exp(-rates.aversion[:, None] * memory)[:, region[group]]
        outside = rates.importation[:, t][:, group]
        sigma = rates.susceptibility[:, kind]
        if rates.waning.shape[-1]:
            sigma = sigma * rates.waning[:, kind, t // PERIOD]
        hazard = sigma * (b[:, HOUSEHOLD] * H[:, household] + response * away + outside)
        hazard = hazard * (never if not rates.reinfection.shape[-1] else _since(rates, kind, last, t))
        new = infect(t, hazard)
        recent, never = [new, *recent[:-1]], never - new
        last = torch.where(new.detach() > 0, t, last)
        x = _sums(new, group, people.groups)
        percent = 100 * _sums(x, region, people.regions) / region_size.clamp_min(1)
        memory = memory + rates.forgetting[:, None] * (percent - memory)
        incidence.append(x)
    return torch.stack(incidence, 1)


def _since(rates: Rates, kind: Tensor, last: Tensor, t: int) -> Tensor:
    """`[P, N]` susceptibility relative to one never infected, by days since the last infection."""
    table = rates.reinfection[:, kind].expand(len(last), -1, -1)
    age = (t - last - 1).clamp(0, table.shape[-1] - 1)
    return torch.where(last < 0, 1.0, table.gather(2, age[..., None])[..., 0])


def _sums(x: Tensor, index: Tensor, size: int) -> Tensor:
    return x.new_zeros(len(x), size).index_add(1, index, x)
