"""The epidemic and its two derivatives in plain tensors, on any device: what the compiled kernels are tested against.

The model is in docs/model.md. Both derivatives here are the local score (docs/gradient.md); all removals are in
`_removals_reference`. Capital names follow the text: I infectiousness of an agent, H V F pressures of households, venues and groups, W score
of a household. All three functions rebuild a day from the day of infection of each agent, so none keeps anything that grows with
days times agents.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from sim._columns import Columns
from sim._random import day_key, stream_key, stream_keys, uniform
from sim.rates import COMMUNITY, HOUSEHOLD, VENUES, Rates

NEVER = 32_767
_NONE = torch.empty((0, 4), dtype=torch.int32)


class Epidemic(NamedTuple):
    """What a run leaves: enough to replay any day.

    incidence `[P, T, G]` agents; infected_on `[P, N]` int16, day of the last infection or NEVER; memory `[P, T, R]` remembered
    incidence; reinfections `[L, 4]` int32: particle, agent, day, and the day of the agent's infection before, which it replaced;
    key `[P]` int64, the key of each particle's random numbers (`sim._random.stream_key`), from which more are drawn;
    before `[P, B, G]` infections of the B days before day 0 (`sim.InfectedBefore`): their days are negative in `infected_on`.
    """

    incidence: Tensor
    infected_on: Tensor
    memory: Tensor
    reinfections: Tensor
    key: Tensor
    before: Tensor


def first_infection(epidemic: Epidemic) -> Tensor:
    """`[P, N]` int16, day of the first infection or NEVER."""
    particle, agent, _, before = epidemic.reinfections.long().unbind(1)
    out = epidemic.infected_on.clone()
    for day in before.unique(sorted=True).flip(0).tolist():  # the earliest is written last
        rows = before == day
        out[particle[rows], agent[rows]] = day
    return out


class Start(NamedTuple):
    """What a run knows of the days before day 0.

    on `[P, N]` int16: negative day of the last infection, or NEVER; before `[P, B, G]`: infections of the B days before, oldest first;
    first_day: number of day 0 in the names of random numbers.
    """

    on: Tensor
    before: Tensor
    first_day: int


class _Day(NamedTuple):
    """Pressures of one day.

    cell, waned: `[P, N]` entries of the flattened infectiousness and reinfection; they count where infectious, immune (or was).
    relative: `[P, N]` susceptibility relative to those never infected.
    """

    cell: Tensor
    infectious: Tensor
    waned: Tensor
    immune: Tensor
    relative: Tensor
    I: Tensor  # noqa: E741
    H: Tensor
    V: tuple[Tensor, ...]
    F: Tensor
    C: Tensor
    response: Tensor
    Q: Tensor
    X: Tensor
    hazard: Tensor


def run(c: Columns, rates: Rates, seed: int, streams: Tensor, start: Start | None = None) -> Epidemic:
    """Simulate every day forward."""
    P, T, N = rates.particles, rates.days, len(c.group)
    start = start or nobody_before(c, rates)
    infected_on = start.on.clone()
    incidence = rates.mixing.new_zeros(P, T, len(c.group_size))
    memory = rates.mixing.new_zeros(P, T, len(c.region_size))
    memory[:, 0] = remembered(c, rates, start.before)[0][:, -1]
    agents, keys = torch.arange(N, device=c.group.device), [stream_key(seed, int(s)) for s in streams]
    reinfections = [_NONE.to(infected_on.device)]
    for t in range(T):
        day = _pressures(c, rates, t, infected_on, memory[:, t])
        draw = torch.stack([uniform(day_key(key, start.first_day + t), agents) for key in keys])
        infected = draw < -torch.expm1(-day.hazard)
        repeated = (infected & (infected_on != NEVER)).nonzero()
        before = infected_on[repeated[:, 0], repeated[:, 1]]
        reinfections.append(torch.column_stack([repeated, torch.full_like(before, t), before]).int())
        infected_on[infected] = t
        incidence[:, t] = _sum(infected.to(incidence.dtype), c.group, incidence.shape[-1])
        if t + 1 < T:
            memory[:, t + 1] = memory[:, t] + rates.forgetting[:, None] * (_percent(c, incidence[:, t]) - memory[:, t])
    rows = torch.cat(reinfections)
    rows = rows[rows[:, 0].argsort(stable=True)]
    return Epidemic(incidence, infected_on, memory, rows, stream_keys(seed, streams), start.before.clone())


def nobody_before(c: Columns, rates: Rates) -> Start:
    """The start of an epidemic before which nobody was infected."""
    P, device = rates.particles, c.group.device
    on = torch.full((P, len(c.group)), NEVER, dtype=torch.int16, device=device)
    return Start(on, rates.mixing.new_zeros(P, 0, len(c.group_size)), 0)


def remembered(c: Columns, rates: Rates, before: Tensor) -> tuple[Tensor, Tensor]:
    """Memory `[P, B + 1, R]` of the B days before day 0 and of day 0, and its derivative by forgetting on day 0 `[P, R]`."""
    f, memory = rates.forgetting[:, None], [rates.mixing.new_zeros(rates.particles, len(c.region_size))]
    slope = torch.zeros_like(memory[0])
    for percent in _percent(c, before.transpose(1, 2)).unbind(2):
        slope = (1 - f) * slope + percent - memory[-1]
        memory.append(memory[-1] + f * (percent - memory[-1]))
    return torch.stack(memory, 1), slope


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """Tangents of the incidence `[P, T, G, Q]` for tangents of the rates with a trailing axis of Q directions."""
    if rates.mixing.dtype != torch.float64:
        along = jvp(c, rates.map(Tensor.double), tangents.map(Tensor.double), _double(epidemic))
        return along.to(rates.mixing.dtype)
    infected_on, T, groups = first_infection(epidemic), rates.days, len(c.group_size)
    W = tangents.mixing.new_zeros(rates.particles, len(c.household_region), tangents.mixing.shape[-1])
    dA = remembered(c, rates, epidemic.before)[1][..., None] * tangents.forgetting[:, None]
    out = W.new_zeros(rates.particles, T, groups, W.shape[-1])
    region = c.region_of_group[c.group]
    for t in range(T):
        A = epidemic.memory[:, t, :, None]
        day = _pressures(c, rates, t, infected_on, epidemic.memory[:, t])
        b, db = rates.transmission[:, :, t, None, None], tangents.transmission[:, :, t, None]
        dI = _rows(tangents.infectiousness.flatten(1, 2), day.cell) * day.infectious[..., None]
        carry = day.I[..., None] * _centred(c, W)[:, c.household]

        # own household: as it happened. Larger groups: the score of the sender's household carries the change.
        dH = db[:, HOUSEHOLD] * day.H[..., None] + b[:, HOUSEHOLD] * c.household_weight[:, None] * _sum(
            dI, c.household, W.shape[1]
        )
        dF = _sum(dI + carry, c.group, groups) / c.group_size[:, None]
        dC = torch.einsum("pghq,ph->pgq", tangents.mixing, day.F) + torch.einsum("pgh,phq->pgq", rates.mixing, dF)
        dQ = (db[:, COMMUNITY] * day.C[..., None] + b[:, COMMUNITY] * dC)[:, c.group]
        for v, (members, group, weight) in enumerate(zip(c.members, c.group_of, c.venue_weight, strict=True)):
            dV = weight[:, None] * _sum((dI + carry)[:, members], group, len(weight))
            dQ = dQ.index_add(
                1, members, db[:, VENUES + v] * day.V[v][:, group, None] + b[:, VENUES + v] * dV[:, group]
            )
            kin = c.kin[v]
            own = _sum(carry[:, kin], c.kin_pair[v], c.pairs[v])[:, c.kin_pair[v]]
            kin_weight = c.venue_weight[v][_venue_of(c, v, kin)]
            dQ = dQ.index_add(1, kin, -b[:, VENUES + v] * kin_weight[:, None] * own)
        dresponse = -day.response[..., None] * (tangents.aversion[:, None] * A + rates.aversion[:, None, None] * dA)

        dX = dH[:, c.household] + dresponse[:, region] * day.Q[..., None] + day.response[:, region, None] * dQ
        dX = dX + tangents.importation[:, t][:, c.group]
        sigma = _susceptible(c, rates, t)
        dsigma = rates.susceptible_tangent(tangents)[:, rates.period(t), c.archetype]
        dhazard = dsigma * day.X[..., None] + sigma[..., None] * dX
        dhazard = dhazard * day.relative[..., None]
        if tangents.reinfection.numel():
            dwaned = _rows(tangents.reinfection.flatten(1, 2), day.waned) * day.immune[..., None]
            dhazard = dhazard + dwaned * (sigma * day.X)[..., None]
        infected = _infected(epidemic, infected_on, t)
        W = W + _sum(_weight(infected, day.hazard)[..., None] * dhazard, c.household, W.shape[1])

        infected_on[infected] = t
        infected = infected.to(W.dtype)
        score = W[:, c.household] - _mean(c, W)[:, region]
        out[:, t] = _sum(infected[..., None] * score, c.group, groups)
        step = tangents.forgetting[:, None] * (_percent(c, epidemic.incidence[:, t])[..., None] - A)
        dA = dA + step + rates.forgetting[:, None, None] * (_percent(c, out[:, t]) - dA)
    return out


def _double(epidemic: Epidemic) -> Epidemic:
    """A run whose numbers are as precise as the population's columns."""
    incidence, memory, before = (x.double() for x in (epidemic.incidence, epidemic.memory, epidemic.before))
    return epidemic._replace(incidence=incidence, memory=memory, before=before)


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """Gradient of `sum(cotangent * incidence)` with respect to every rate; `cotangent` is `[P, T, G]`.

    The transpose of `jvp`, line by line from the last day to the first. `WG` is the adjoint of W; `centre` what the
    subtracted regional mean adds to it, the same for every household of a region.
    """
    if rates.mixing.dtype != torch.float64:
        bar = vjp(c, rates.map(Tensor.double), _double(epidemic), cotangent.double())
        return bar.map(lambda x: x.to(rates.mixing.dtype))
    infected_on, groups = epidemic.infected_on.clone(), len(c.group_size)
    bar = rates.map(torch.zeros_like)
    households = len(c.household_region)
    WG = rates.mixing.new_zeros(rates.particles, households)
    sigmaG = torch.zeros_like(rates.susceptible())
    centre = rates.mixing.new_zeros(rates.particles, len(c.region_size))
    AG = torch.zeros_like(centre)
    region = c.region_of_group[c.group]
    for t in range(rates.days - 1, -1, -1):
        A, b = epidemic.memory[:, t], rates.transmission[:, :, t, None]
        infected = _infected(epidemic, infected_on, t)
        _take_back(epidemic, infected_on, t)
        day = _pressures(c, rates, t, infected_on, A)

        # memory of the next day, then the read-out of this one
        bar.forgetting.add_((AG * (_percent(c, epidemic.incidence[:, t]) - A)).sum(1))
        xG = cotangent[:, t] + (rates.forgetting[:, None] * AG * 100 / c.region_size)[:, c.region_of_group]
        AG = (1 - rates.forgetting[:, None]) * AG
        WG = WG + _sum(infected * xG[:, c.group], c.household, households)
        centre = (
            centre - _sum(xG * epidemic.incidence[:, t], c.region_of_group, centre.shape[1]) / c.households_in_region
        )

        hazardG = (WG + centre[:, c.household_region])[:, c.household] * _weight(infected, day.hazard)
        if rates.reinfection.numel():
            waned = hazardG * _susceptible(c, rates, t) * day.X * day.immune
            bar.reinfection.view(rates.particles, -1).scatter_add_(1, day.waned, waned)
        hazardG = hazardG * day.relative
        sigmaG[:, rates.period(t)].add_(_sum(hazardG * day.X, c.archetype, sigmaG.shape[2]))
        XG = hazardG * _susceptible(c, rates, t)
        XG_group = _sum(XG, c.group, groups)
        bar.importation[:, t] = XG_group
        QG, responseG = XG * day.response[:, region], _sum(XG * day.Q, region, centre.shape[1])
        bar.aversion.add_(-(responseG * day.response * A).sum(1))
        AG = AG - responseG * day.response * rates.aversion[:, None]

        HG = _sum(XG, c.household, households)
        bar.transmission[:, HOUSEHOLD, t] = (HG * day.H).sum(1)
        CG = XG_group * day.response[:, c.region_of_group]
        bar.transmission[:, COMMUNITY, t] = (CG * day.C).sum(1)
        CG = b[:, COMMUNITY] * CG
        bar.mixing.add_(CG[:, :, None] * day.F[:, None, :])
        FG = torch.einsum("pgh,pg->ph", rates.mixing, CG) / c.group_size
        sendG = FG[:, c.group]
        kinG = torch.zeros_like(sendG)
        for v, (members, group, weight) in enumerate(zip(c.members, c.group_of, c.venue_weight, strict=True)):
            bar.transmission[:, VENUES + v, t] = (QG[:, members] * day.V[v][:, group]).sum(1)
            VG = b[:, VENUES + v] * weight * _sum(QG[:, members], group, len(weight))
            sendG = sendG.index_add(1, members, VG[:, group])
            kin = c.kin[v]
            own = _sum(QG[:, kin], c.kin_pair[v], c.pairs[v])[:, c.kin_pair[v]]
            kinG = kinG.index_add(1, kin, b[:, VENUES + v] * weight[_venue_of(c, v, kin)] * own)

        # to the infectious: rho enters every pressure directly, the score only the larger groups
        direct = sendG + (b[:, HOUSEHOLD] * c.household_weight * HG)[:, c.household]
        flat = bar.infectiousness.view(rates.particles, -1)
        flat.scatter_add_(1, day.cell, direct * day.infectious)
        carried = _sum(day.I * (sendG - kinG), c.household, households)
        WG = WG + carried
        centre = centre - _sum(carried, c.household_region, centre.shape[1]) / c.households_in_region
    bar.forgetting.add_((AG * remembered(c, rates, epidemic.before)[1]).sum(1))
    susceptibilityG, waningG = rates.susceptible_adjoint(sigmaG)
    return replace(bar, susceptibility=susceptibilityG, waning=waningG)


def _pressures(c: Columns, rates: Rates, t: int, infected_on: Tensor, memory: Tensor) -> _Day:
    """Everything that bears on day t, from the infections before it."""
    D = rates.infectious_days
    since = t - 1 - infected_on.long()
    infectious = (since >= 0) & (since < D)
    cell = c.archetype * D + since.clamp(0, D - 1)
    I = rates.infectiousness.flatten(1).gather(1, cell) * infectious  # noqa: E741
    H = c.household_weight.to(I.dtype) * _sum(I, c.household, len(c.household_region))
    F = _sum(I, c.group, len(c.group_size)) / c.group_size.to(I.dtype)
    C = torch.einsum("pgh,ph->pg", rates.mixing, F)
    b = rates.transmission[:, :, t, None]
    Q, V = (b[:, COMMUNITY] * C)[:, c.group], []
    for v, (members, group, weight) in enumerate(zip(c.members, c.group_of, c.venue_weight, strict=True)):
        V.append(weight.to(I.dtype) * _sum(I[:, members], group, len(weight)))
        Q = Q.index_add(1, members, b[:, VENUES + v] * V[v][:, group])
    response = torch.exp(-rates.aversion[:, None] * memory)
    X = b[:, HOUSEHOLD] * H[:, c.household] + response[:, c.region_of_group[c.group]] * Q
    X = X + rates.importation[:, t][:, c.group]
    E = rates.reinfection.shape[-1]
    waned, immune = c.archetype * E + since.clamp(0, max(E - 1, 0)), since >= D
    relative = (infected_on >= t).to(I.dtype)
    if E:
        relative = relative + rates.reinfection.flatten(1).gather(1, waned) * immune
    hazard = relative * _susceptible(c, rates, t) * X
    return _Day(cell, infectious, waned, immune, relative, I, H, tuple(V), F, C, response, Q, X, hazard)


def _susceptible(c: Columns, rates: Rates, t: int) -> Tensor:
    """Susceptibility of each agent on a day, were it never infected: `[P, N]`."""
    return rates.susceptible()[:, rates.period(t), c.archetype]


def _infected(epidemic: Epidemic, infected_on: Tensor, t: int) -> Tensor:
    """Who is infected on day t, for the first time or again: `[P, N]`."""
    particle, agent, day, _ = epidemic.reinfections.long().unbind(1)
    infected = infected_on == t
    infected[particle[day == t], agent[day == t]] = True
    return infected


def _take_back(epidemic: Epidemic, infected_on: Tensor, t: int) -> None:
    """Put the infection before in the place of the reinfections of day t."""
    particle, agent, day, before = epidemic.reinfections.long().unbind(1)
    infected_on[particle[day == t], agent[day == t]] = before[day == t].to(infected_on.dtype)


def _weight(infected: Tensor, hazard: Tensor) -> Tensor:
    """Derivative of the log-probability of an agent's day with respect to its hazard: `[P, N]`."""
    safe = hazard.clamp_min(torch.finfo(hazard.dtype).tiny)
    return torch.where(infected, 1 / torch.expm1(safe), -torch.ones_like(hazard))


def _centred(c: Columns, W: Tensor) -> Tensor:
    """Scores less their mean over the region: the control variate (`E[W] = 0`)."""
    return W - _mean(c, W)[:, c.household_region]


def _mean(c: Columns, W: Tensor) -> Tensor:
    """Mean score of the households of each region, each in that of its first member."""
    return _sum(W, c.household_region, len(c.region_size)) / c.households_in_region[:, None].to(W.dtype)


def _percent(c: Columns, incidence: Tensor) -> Tensor:
    """Per cent of each region infected on a day: `[P, G, ...] -> [P, R, ...]`."""
    size = c.region_size.to(incidence.dtype).reshape(-1, *[1] * (incidence.dim() - 2))
    return 100 * _sum(incidence, c.region_of_group, len(c.region_size)) / size


def _sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Segment sums along axis 1."""
    return values.new_zeros(values.shape[0], size, *values.shape[2:]).index_add_(1, index, values)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """`table[p, index[p, n], :]`."""
    return table.gather(1, index[..., None].expand(*index.shape, table.shape[-1]))


def _venue_of(c: Columns, layer: int, agents: Tensor) -> Tensor:
    """Venue group of agents that are members of the layer (members are in ascending order)."""
    return c.group_of[layer][torch.searchsorted(c.members[layer], agents)]
