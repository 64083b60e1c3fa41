"""Contacts of an infection in the GPU kernels: `_compiled_attempts.contacts` one step at a time, for lanes of infections."""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types.

from __future__ import annotations

import triton
import triton.language as tl

from sim._triton_people import exponential, unused


@triton.jit
def group_at(w, G, row, x, ok):
    """The group whose part of a running sum holds x, among G."""
    low, high = row.to(tl.int32) * 0, row.to(tl.int32) * 0 + G + 1
    go = ok
    while tl.max(go.to(tl.int32), 0) > 0:
        middle = (low + high) // 2
        under = go & (tl.load(w.reach + row + middle, mask=go, other=0.0) <= x)
        low = tl.where(under, middle + 1, low)
        high = tl.where(go & (under == 0), middle, high)
        go = go & (low < high)
    return tl.maximum(tl.minimum(low - 1, G - 1), 0)


@triton.jit
def step(c, w, p, i, key, day, before, age, channel, at, gap, count, go, IN_RUN: tl.constexpr):
    """Go on to the next contact of an infection, or to the next channel or age.

    `before`: day of the same infection in the run, or -1; `age, channel, at, gap, count`: where each lane is. IN_RUN: contacts that infected
    nobody in the run.

    Returns:
        where each lane is then, which go on, which have found a contact, and of that: agent, age, channel, height.
    """
    top = tl.load(w.top + p)
    k, g0 = tl.load(c.archetype + i, mask=go, other=0), tl.load(c.group + i, mask=go, other=0)
    now, then = day + 1 + age, before + 1 + age
    beta = w.transmission + (p * w.rows + channel) * w.T
    rho = tl.load(w.rho + (p * w.K + k) * w.D + age, mask=go, other=0.0)
    high = tl.load(beta + now, mask=go, other=0.0) * top
    low = tl.load(beta + then, mask=go & (before >= 0) & (then < w.T), other=0.0) * top

    home, everywhere = channel == 0, channel == 1
    live = go & (rho > 0.0) & (high > low)
    v = tl.load(c.venue + i.to(tl.int64) * c.V + channel - 2, mask=live & (channel >= 2), other=-1)
    small = live & (home | (v >= 0))
    h = tl.load(c.household + i, mask=live & home, other=0)
    of_home, of_venue = small & home, small & (channel >= 2)
    first = tl.load(c.household_start + h, mask=of_home, other=0) + tl.load(c.venue_start + v, mask=of_venue, other=0)
    stop = tl.load(c.household_start + h + 1, mask=of_home, other=0)
    stop += tl.load(c.venue_start + v + 1, mask=of_venue, other=0)
    weight = tl.load(c.household_weight + h, mask=of_home, other=0.0)
    weight += tl.load(c.venue_weight + v, mask=of_venue, other=0.0)

    scale = tl.where(live, rho * (high - low), 0.0)
    rate, begin = scale * weight, scale * 0.0
    wide = live & everywhere
    row = (p * c.G + g0) * (c.G + 1)
    end = tl.where(wide, scale * tl.load(w.reach + row + c.G, mask=wide, other=0.0), rate * (stop - first))
    hit = live & (at + gap < end)
    left = tl.maximum(gap - (end - at), 0.0)
    at = tl.where(hit, at + gap, at)

    wide = wide & hit
    g = group_at(w, c.G, row, at / tl.where(wide, scale, 1.0), wide)
    begin = tl.where(wide, scale * tl.load(w.reach + row + g, mask=wide, other=0.0), begin)
    size = tl.load(c.group_size + g0, mask=wide, other=1.0)
    each = tl.load(w.mixing + (p * c.G + g) * c.G + g0, mask=wide, other=0.0) / size
    rate = tl.where(wide, scale * each, rate)
    first += tl.load(c.group_start + g, mask=wide, other=0)
    stop += tl.load(c.group_start + g + 1, mask=wide, other=0)

    place = tl.where(hit, (at - begin) / tl.where(hit, rate, 1.0), 0.0)
    slot = tl.minimum(place, (stop - first - 1).to(tl.float64)).to(tl.int32)
    x = tl.minimum(tl.maximum(place - slot, 0.0), 1.0)
    j = tl.where(home, first + slot, 0)
    j += tl.load(c.group_member + first + slot, mask=wide, other=0)
    j += tl.load(c.venue_member + first + slot, mask=hit & (channel >= 2), other=0)

    floor = scale * 0.0
    if IN_RUN:
        floor = (unused(c, w, p, channel, now, j, hit) - low) / tl.where(hit, high - low, 1.0)
    above = hit & (x >= floor)
    height = low + x * (high - low)
    most = tl.load(w.best + p * w.rows + channel, mask=above, other=0.0)
    most *= tl.load(w.own + p * w.K + tl.load(c.archetype + j, mask=above, other=0), mask=above, other=0.0)
    found = above & (j != i) & (height < most)  # else it infects in no world
    found_age, found_channel = age, channel

    at = tl.where(hit, begin + (slot + tl.where(above, 1.0, tl.minimum(floor, 1.0))) * rate, 0.0)
    count += hit.to(tl.int32)
    gap = tl.where(hit, exponential(key, count), tl.where(go, left, gap))
    channel += (go & (hit == 0)).to(tl.int32)
    over = channel >= w.rows
    age, channel = age + over.to(tl.int32), tl.where(over, 0, channel)
    go = go & (age < w.D) & (day + 1 + age < w.T)
    return age, channel, at, gap, count, go, found, j, found_age, found_channel, height
