"""The local score against ghosts, in plain tensors: bias of second order in one household's weight (docs/gradient.md).

A *ghost* of a household has the same members and feels the same outside pressure, with luck of its own, and infects nobody but
its own members. The score is half the difference of the scores of the two, `S = (W_real - W_ghost) / 2`, and what it multiplies is
the difference of what the two did: it needs no mean subtracted. Names as in `sim._reference`; y stands for a ghost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from sim._columns import Columns
from sim._random import day_key, stream_key, uniform
from sim._reference import NEVER, Epidemic, _Day, _percent, _pressures, _rows, _sum, _susceptible, _venue_of, _weight
from sim.rates import COMMUNITY, HOUSEHOLD, VENUES, Rates

LARGEST_SHARE, SMALL_SHARE = 0.95, 1e-8
"""Of a household in the force of infection on its region: beyond the first, the second is as good as none."""


def ghost_keys(seed: int, stream: int, ghost: int, days: int) -> list[int]:
    """Day keys of a ghost's luck, apart from those of every particle."""
    key = stream_key(stream_key(seed, stream), ghost + 1)
    return [day_key(key, t) for t in range(days)]


def ghosts(c: Columns, rates: Rates, epidemic: Epidemic, seed: int, streams: Tensor, number: int) -> Tensor:
    """Day of infection `[P, K, N]` int16 of K ghosts of every household of an epidemic, NEVER where there is none."""
    P, T, N, c = rates.particles, rates.days, len(c.group), _everybody_kin(c)
    out = torch.full((P, number, N), NEVER, dtype=torch.int16, device=c.group.device)
    agents = torch.arange(N, device=c.group.device)
    for k in range(number):
        keys, on = [ghost_keys(seed, int(s), k, T) for s in streams], out[:, k]
        for t in range(T):
            day = _pressures(c, rates, t, _before(epidemic.infected_on, t), epidemic.memory[:, t])
            hazard = _lane(c, rates, t, day, on).hazard
            draw = torch.stack([uniform(key[t], agents) for key in keys])
            on[draw < -torch.expm1(-hazard)] = t
    return out


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """As `_reference.jvp`, against `epidemic.ghosts`."""
    K, T, groups, households = epidemic.ghosts.shape[1], rates.days, len(c.group_size), len(c.household_region)
    c = _everybody_kin(c)
    S = tangents.mixing.new_zeros(K, rates.particles, households, tangents.mixing.shape[-1])
    dA = S.new_zeros(rates.particles, len(c.region_size), S.shape[-1])
    out = S.new_zeros(rates.particles, T, groups, S.shape[-1])
    for t in range(T):
        A = epidemic.memory[:, t, :, None]
        day = _pressures(c, rates, t, _before(epidemic.infected_on, t), epidemic.memory[:, t])
        real, ys = _real(day), [_lane(c, rates, t, day, _before(y, t)) for y in epidemic.ghosts.unbind(1)]
        b, db = rates.transmission[:, :, t, None, None], tangents.transmission[:, :, t, None]
        dI = _rows(tangents.infectiousness.flatten(1, 2), real.cell) * real.infectious[..., None]
        push, carry = _push(c, rates, t, day), torch.zeros_like(dI)
        for k, y in enumerate(ys):
            weight = (real.I - y.I) * _stretch(c, push, real.I - y.I)[:, c.household] / K
            carry = carry + weight[..., None] * S[k][:, c.household]

        # what reaches a household from outside is the same for it and its ghosts
        dF = _sum(dI + carry, c.group, groups) / c.group_size[:, None]
        dC = torch.einsum("pghq,ph->pgq", tangents.mixing, day.F) + torch.einsum("pgh,phq->pgq", rates.mixing, dF)
        dQ = (db[:, COMMUNITY] * day.C[..., None] + b[:, COMMUNITY] * dC)[:, c.group]
        for v, (members, group, weight) in enumerate(zip(c.members, c.group_of, c.venue_weight, strict=True)):
            dV = weight[:, None] * _sum((dI + carry)[:, members], group, len(weight))
            dQ = dQ.index_add(
                1, members, db[:, VENUES + v] * day.V[v][:, group, None] + b[:, VENUES + v] * dV[:, group]
            )
            dQ = dQ.index_add(1, c.kin[v], -b[:, VENUES + v] * _among_kin(c, v, carry))
        dresponse = -day.response[..., None] * (tangents.aversion[:, None] * A + rates.aversion[:, None, None] * dA)

        infected = epidemic.infected_on == t
        dW = _score(c, rates, tangents, t, day, real, infected, dI, dQ, dresponse)
        for k, y in enumerate(ys):
            caught, dQy = epidemic.ghosts[:, k] == t, dQ
            dIy = _rows(tangents.infectiousness.flatten(1, 2), y.cell) * y.infectious[..., None]
            for v, kin in enumerate(c.kin):  # in a venue a ghost meets its own members, not the real ones
                direct = db[:, VENUES + v] * _among_kin(c, v, (y.I - real.I)[..., None])
                dQy = dQy.index_add(1, kin, direct + b[:, VENUES + v] * _among_kin(c, v, dIy - dI))
            dWy = _score(c, rates, tangents, t, day, y, caught, dIy, dQy, dresponse)
            S[k] = S[k] + (dW - dWy) / 2
            difference = infected.to(S.dtype) - caught.to(S.dtype)
            out[:, t] = out[:, t] + _sum(difference[..., None] * S[k][:, c.household], c.group, groups) / K
        step = tangents.forgetting[:, None] * (_percent(c, epidemic.incidence[:, t])[..., None] - A)
        dA = dA + step + rates.forgetting[:, None, None] * (_percent(c, out[:, t]) - dA)
    return out


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """As `_reference.vjp`, against `epidemic.ghosts`: the transpose of `jvp`. `SG` `[K, P, H]` are the adjoints of S."""
    K, groups, households, c = epidemic.ghosts.shape[1], len(c.group_size), len(c.household_region), _everybody_kin(c)
    bar = rates.map(torch.zeros_like)
    SG = rates.mixing.new_zeros(K, rates.particles, households)
    sigmaG = torch.zeros_like(rates.susceptible())
    AG = rates.mixing.new_zeros(rates.particles, len(c.region_size))
    region, rho = c.region_of_group[c.group], bar.infectiousness.view(rates.particles, -1)
    for t in range(rates.days - 1, -1, -1):
        A, b = epidemic.memory[:, t], rates.transmission[:, :, t, None]
        day = _pressures(c, rates, t, _before(epidemic.infected_on, t), A)
        lanes = [_real(day), *(_lane(c, rates, t, day, _before(y, t)) for y in epidemic.ghosts.unbind(1))]
        infected = [epidemic.infected_on == t, *(y == t for y in epidemic.ghosts.unbind(1))]

        bar.forgetting.add_((AG * (_percent(c, epidemic.incidence[:, t]) - A)).sum(1))
        xG = cotangent[:, t] + (rates.forgetting[:, None] * AG * 100 / c.region_size)[:, c.region_of_group]
        AG = (1 - rates.forgetting[:, None]) * AG
        for k in range(K):
            difference = infected[0].to(SG.dtype) - infected[1 + k].to(SG.dtype)
            SG[k] += _sum(difference * xG[:, c.group], c.household, households) / K

        XG, QG = [], []
        for lane, n, WG in zip(lanes, infected, [SG.sum(0) / 2, *(-SG / 2)], strict=True):
            hazardG = WG[:, c.household] * _weight(n, lane.hazard) * lane.relative
            sigmaG[:, rates.period(t)].add_(_sum(hazardG * lane.X, c.archetype, sigmaG.shape[2]))
            XG.append(hazardG * _susceptible(c, rates, t))
            QG.append(XG[-1] * day.response[:, region])
        responseG = sum(_sum(x * lane.Q, region, AG.shape[1]) for x, lane in zip(XG, lanes, strict=True))
        bar.aversion.add_(-(responseG * day.response * A).sum(1))
        AG = AG - responseG * day.response * rates.aversion[:, None]
        bar.importation[:, t] = _sum(sum(XG), c.group, groups)
        CG = bar.importation[:, t] * day.response[:, c.region_of_group]
        bar.transmission[:, COMMUNITY, t] = (CG * day.C).sum(1)
        CG = b[:, COMMUNITY] * CG
        bar.mixing.add_(CG[:, :, None] * day.F[:, None, :])
        sendG, allQG = (torch.einsum("pgh,pg->ph", rates.mixing, CG) / c.group_size)[:, c.group], sum(QG)
        for v, (members, group, weight) in enumerate(zip(c.members, c.group_of, c.venue_weight, strict=True)):
            bar.transmission[:, VENUES + v, t] = (allQG[:, members] * day.V[v][:, group]).sum(1)
            VG = b[:, VENUES + v] * weight * _sum(allQG[:, members], group, len(weight))
            sendG = sendG.index_add(1, members, VG[:, group])

        net = sendG
        for v, kin in enumerate(c.kin):
            net = net.index_add(1, kin, -b[:, VENUES + v] * _among_kin(c, v, allQG))
            for k in range(K):
                own = _among_kin(c, v, QG[1 + k])
                bar.transmission[:, VENUES + v, t] += (own * (lanes[1 + k].I - day.I)[:, kin]).sum(1)
                rho.scatter_add_(1, day.cell[:, kin], -b[:, VENUES + v] * own * day.infectious[:, kin])
                rho.scatter_add_(1, lanes[1 + k].cell[:, kin], b[:, VENUES + v] * own * lanes[1 + k].infectious[:, kin])
        rho.scatter_add_(1, day.cell, sendG * day.infectious)
        for x, lane in zip(XG, lanes, strict=True):
            HG = _sum(x, c.household, households)
            bar.transmission[:, HOUSEHOLD, t] += (HG * lane.H).sum(1)
            rho.scatter_add_(
                1, lane.cell, (b[:, HOUSEHOLD] * c.household_weight * HG)[:, c.household] * lane.infectious
            )
        push = _push(c, rates, t, day)
        for k in range(K):
            dI = day.I - lanes[1 + k].I
            SG[k] += _stretch(c, push, dI) * _sum(dI * net, c.household, households) / K
    susceptibilityG, waningG = rates.susceptible_adjoint(sigmaG)
    return replace(bar, susceptibility=susceptibilityG, waning=waningG)


class _Lane(NamedTuple):
    """A household's world, real or ghost: axes and names as in `sim._reference._Day`."""

    cell: Tensor
    infectious: Tensor
    relative: Tensor
    I: Tensor  # noqa: E741
    H: Tensor
    Q: Tensor
    X: Tensor
    hazard: Tensor


def _real(day: _Day) -> _Lane:
    return _Lane(day.cell, day.infectious, day.relative, day.I, day.H, day.Q, day.X, day.hazard)


def _lane(c: Columns, rates: Rates, t: int, day: _Day, on: Tensor) -> _Lane:
    """A ghost's day: its own household, and what reaches the real one from outside."""
    D, b = rates.infectious_days, rates.transmission[:, :, t, None]
    since = t - 1 - on.long()
    infectious, cell = (since >= 0) & (since < D), c.archetype * D + since.clamp(0, D - 1)
    I = rates.infectiousness.flatten(1).gather(1, cell) * infectious  # noqa: E741
    H, Q = c.household_weight.to(I.dtype) * _sum(I, c.household, len(c.household_region)), day.Q
    for v, kin in enumerate(c.kin):
        Q = Q.index_add(1, kin, b[:, VENUES + v] * _among_kin(c, v, I - day.I))
    X = b[:, HOUSEHOLD] * H[:, c.household] + day.response[:, c.region_of_group[c.group]] * Q
    X = X + rates.importation[:, t][:, c.group]
    relative = (on >= t).to(I.dtype)
    return _Lane(cell, infectious, relative, I, H, Q, X, relative * _susceptible(c, rates, t) * X)


def _score(
    c: Columns, rates: Rates, tangents: Rates, t: int, day: _Day, lane: _Lane, infected: Tensor, dI: Tensor, dQ: Tensor,
    dresponse: Tensor,
) -> Tensor:  # fmt: skip
    """What a day adds to the W of a lane, `[P, H, Q]`: `dI` of its members, `dQ` what reaches them from outside."""
    households, region = len(c.household_region), c.region_of_group[c.group]
    b, db = rates.transmission[:, HOUSEHOLD, t, None, None], tangents.transmission[:, HOUSEHOLD, t, None]
    dH = db * lane.H[..., None] + b * c.household_weight[:, None] * _sum(dI, c.household, households)
    dX = dH[:, c.household] + dresponse[:, region] * lane.Q[..., None] + day.response[:, region, None] * dQ
    dX = dX + tangents.importation[:, t][:, c.group]
    dsigma = rates.susceptible_tangent(tangents)[:, rates.period(t), c.archetype]
    dhazard = dsigma * lane.X[..., None] + _susceptible(c, rates, t)[..., None] * dX
    return _sum((_weight(infected, lane.hazard) * lane.relative)[..., None] * dhazard, c.household, households)


def _push(c: Columns, rates: Rates, t: int, day: _Day) -> Tensor:
    """Share that one unit of infectiousness in a group has in the force of infection on its own region: `[P, G]`."""
    near = c.region_of_group[:, None] == c.region_of_group
    response, b = day.response[:, c.region_of_group], rates.transmission[:, COMMUNITY, t, None]
    force = (response * b * day.C + rates.importation[:, t]) * c.group_size
    total = _sum(force, c.region_of_group, len(c.region_size))[:, c.region_of_group]
    sent = torch.einsum("pgh,gh,g->ph", rates.mixing, near.to(total.dtype), c.group_size) / c.group_size
    return response * b * sent / total.clamp_min(torch.finfo(total.dtype).tiny)


def _stretch(c: Columns, push: Tensor, dI: Tensor) -> Tensor:
    """From a difference to one of logarithms: `-log(1 - share) / share` of a household's share in the force, less its ghost's."""
    share = _sum(dI * push[:, c.group], c.household, len(c.household_region)).clamp_max(LARGEST_SHARE)
    safe = torch.where(share.abs() < SMALL_SHARE, SMALL_SHARE, share)
    return torch.where(share.abs() < SMALL_SHARE, 1.0, -torch.log1p(-safe) / safe)


def _before(on: Tensor, t: int) -> Tensor:
    """Days of infection as they stand at the beginning of a day."""
    return torch.where(on < t, on, NEVER)


def _everybody_kin(c: Columns) -> Columns:
    """Columns whose kin are all members of a venue group: a ghost would meet even the real one of itself there."""
    pairs = [
        torch.unique(c.household[m] * len(w) + g, return_inverse=True)
        for m, g, w in zip(c.members, c.group_of, c.venue_weight, strict=True)
    ]
    return replace(c, kin=c.members, kin_pair=tuple(x[1] for x in pairs), pairs=tuple(len(x[0]) for x in pairs))


def _among_kin(c: Columns, layer: int, values: Tensor) -> Tensor:
    """Sums over members of one's household, oneself included, in one's venue group, times its weight: `[P, s, ...]`."""
    kin = c.kin[layer]
    weight = c.venue_weight[layer][_venue_of(c, layer, kin)].to(values.dtype)
    weight = weight.reshape(-1, *[1] * (values.dim() - 2))
    return weight * _sum(values[:, kin], c.kin_pair[layer], c.pairs[layer])[:, c.kin_pair[layer]]
