"""Choose households, states and groups so that margins hold: what a synthetic population is made of.

Nothing here knows a country. Every function is a pure function of its arguments and a generator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "apportion",
    "assign_states",
    "choose_households",
    "controlled_counts",
    "group_sizes",
    "rake",
    "sample_sizes",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def apportion(total: int, shares: Floats, minimum: int = 0) -> Ints:
    """Divide a whole number in proportion to shares by the largest remainder (Hamilton's method).

    Args:
        total: what to divide.
        shares: `[C]`, not negative, of positive sum.
        minimum: the least that each receives, as far as `total` allows.

    Returns:
        `[C]` whole numbers that sum to `total`, each within 1 of its exact part unless `minimum` binds.
    """
    exact = total * np.asarray(shares, np.float64) / np.sum(shares)
    part = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - part), kind="stable")
    part[order[: total - int(part.sum())]] += 1
    if minimum and total >= minimum * len(part):
        lack = int(np.maximum(minimum - part, 0).sum())
        part = np.maximum(part, minimum)
        for _ in range(lack):
            part[np.argmax(part)] -= 1
    return part


def sample_sizes(people: Ints, scale: float, balance: float, minimum: int) -> Ints:
    """How many agents each place receives.

    In proportion to `people ** (1 - balance)`, no place above its people or below `minimum`, `scale * people` in all.

    Args:
        people: `[R]` people of each place.
        scale: agents per person over all places, in (0, 1].
        balance: 0 samples every place alike; 1 gives every place as many agents.
        minimum: least number of agents of a place (its people, if fewer).

    Returns:
        `[R]` agents.
    """
    low, high = np.minimum(minimum, people), people
    total = min(max(round(scale * int(people.sum())), int(low.sum())), int(people.sum()))
    weight = people.astype(np.float64) ** (1.0 - balance)
    # Sum of clipped parts rises with the multiplier: bisect it, then round what is free.
    a, b = 0.0, float(np.max(people / weight))
    for _ in range(200):
        middle = 0.5 * (a + b)
        a, b = (middle, b) if np.clip(middle * weight, low, high).sum() < total else (a, middle)
    exact = np.clip(b * weight, low, high)
    part = np.floor(exact + 1e-9).astype(np.int64)
    for place in np.argsort(-(exact - part), kind="stable"):
        part[place] += int(part.sum() < total and part[place] < high[place])
    return part


def rake(types: Ints, prior: Floats, margins: Floats, tolerance: float = 1e-9) -> Floats:
    """Weights of household types that meet the margins and stay closest to the prior weights.

    The weights `prior[k] * exp(types[k] @ multiplier)` minimise the relative entropy to the prior under
    `weights @ types == margins` (Ireland & Kullback 1968), found by Newton's method on the dual.

    Args:
        types: `[K, B]` members of each type in each class.
        prior: `[K]` prior weights, not negative.
        margins: `[B]` wanted members of each class, positive.
        tolerance: largest relative error of a margin.

    Returns:
        `[K]` weights.

    Raises:
        ValueError: no weights meet the margins.
    """
    x, target = types.astype(np.float64), np.asarray(margins, np.float64)
    base = prior * (target.sum() / (prior @ x).sum())
    multiplier = np.zeros(len(target))

    def dual(at: Floats) -> tuple[float, Floats]:
        weights = base * np.exp(np.minimum(x @ at, 600.0))
        return float(weights.sum() - at @ target), weights

    value, weights = dual(multiplier)
    for _ in range(200):
        gradient = weights @ x - target
        if np.all(np.abs(gradient) <= tolerance * target):
            return weights
        hessian = x.T @ (weights[:, None] * x)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        slope, length = float(gradient @ step), 1.0
        while length > 1e-10:
            new_value, new_weights = dual(multiplier - length * step)
            if new_value <= value - 1e-4 * length * slope + 1e-13 * abs(value):
                break
            length *= 0.5
        multiplier, value, weights = multiplier - length * step, new_value, new_weights
    worst = int(np.argmax(np.abs(weights @ x - target) / target))
    raise ValueError(
        f"no mixture of the {len(types)} household types meets the margins: class {worst} reaches "
        f"{(weights @ x)[worst]:.6g} of {target[worst]:.6g}; add household types that hold more of it or less."
    )


def choose_households(types: Ints, weights: Floats, target: Ints, rng: np.random.Generator) -> Ints:
    """How many households of each type, so that their members are exactly the target.

    Systematic sampling of the weights (each count within 1 of its weight) leaves every class a few members off;
    then single households gain or lose one member, by moving to the neighbouring type, until nothing is off.
    Types are drawn for that in proportion to the households they have.

    Args:
        types: `[K, B]` members of each type in each class.
        weights: `[K]` expected households of each type.
        target: `[B]` members wanted in each class.
        rng: source of the random start and of the drawn households.

    Returns:
        `[K]` households. Their members equal the target wherever the types allow it; the caller may compare.
    """
    edges = np.floor(np.concatenate([[0.0], np.cumsum(weights)]) + rng.random()).astype(np.int64)
    counts: Ints = np.diff(edges)
    up = _neighbours(types)
    down = np.full_like(up, -1)
    for b in range(types.shape[1]):
        has = up[:, b] >= 0
        down[up[has, b], b] = np.flatnonzero(has)
    off = target - counts @ types
    for _ in range(4 * int(np.abs(off).sum()) + 100):
        if not off.any():
            break
        b = int(np.argmax(np.abs(off)))
        move = up[:, b] if off[b] > 0 else down[:, b]
        eligible = np.where(move >= 0, counts, 0)
        if eligible.any():
            k = _draw(eligible, rng)
            counts[k] -= 1
            counts[move[k]] += 1
        elif not _add_or_remove(types, counts, off):
            break
        off = target - counts @ types
    return counts


def _neighbours(types: Ints) -> Ints:
    """`[K, B]` the type with one more member in class b, -1 if there is none."""
    base = int(types.max()) + 2
    place = base ** np.arange(types.shape[1], dtype=np.int64)
    code = types @ place
    order = np.argsort(code)
    wanted = code[:, None] + place[None, :]
    at = np.minimum(np.searchsorted(code, wanted, sorter=order), len(code) - 1)
    found: Ints = np.where(code[order[at]] == wanted, order[at], -1)
    return found


def _draw(counts: Ints, rng: np.random.Generator) -> int:
    """The type of a household drawn at random."""
    edges = np.cumsum(counts)
    return int(np.searchsorted(edges, rng.integers(edges[-1]), side="right"))


def _add_or_remove(types: Ints, counts: Ints, off: Ints) -> bool:
    """Add or remove the one household that brings the members closest to the target; False if none does."""
    now = int(off @ off)
    added = ((off - types) ** 2).sum(1)
    removed = np.where(counts > 0, ((off + types) ** 2).sum(1), now)
    k, j = int(np.argmin(added)), int(np.argmin(removed))
    if min(int(added[k]), int(removed[j])) >= now:
        return False
    if added[k] <= removed[j]:
        counts[k] += 1
    else:
        counts[j] -= 1
    return True


def controlled_counts(fractions: Floats, sizes: Ints, rng: np.random.Generator) -> Ints:
    """Round `sizes * fractions` to whole numbers without losing small fractions.

    In each cell the counts sum to the size and lie within 1 of their exact value; starts of the systematic
    rounding are spread evenly over the cells (golden-ratio sequence), so sums over many small cells keep close to
    theirs too.

    Args:
        fractions: `[C, S]` fractions of S states in C cells, each row of sum 1.
        sizes: `[C]` members of each cell.
        rng: source of the one random start.

    Returns:
        `[C, S]` counts.
    """
    start = (rng.random() + np.arange(len(sizes)) * 0.6180339887498949) % 1.0
    edges = np.floor(np.cumsum(fractions, axis=1) * sizes[:, None] + start[:, None]).astype(np.int64)
    edges[:, -1] = sizes
    return np.diff(np.minimum(edges, sizes[:, None]), axis=1, prepend=0)


def assign_states(cell: NDArray[np.integer], fractions: Floats, rng: np.random.Generator) -> NDArray[np.int8]:
    """Give every member a state, at random within its cell, so that the fractions of each cell hold.

    Args:
        cell: `[N]` cell of each member, 0..C-1.
        fractions: `[C, S]` fractions of the states, each row of sum 1.
        rng: source of the shuffle.

    Returns:
        `[N]` states.
    """
    cells, states = fractions.shape
    counts = controlled_counts(fractions, np.bincount(cell, minlength=cells), rng)
    out = np.empty(len(cell), np.int8)
    out[shuffled_order(cell, rng)] = np.repeat(np.tile(np.arange(states, dtype=np.int8), cells), counts.ravel())
    return out


def shuffled_order(key: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions sorted by key, ties in random order; keys that fit 16 bits are sorted in linear time."""
    if len(key) and key.max() <= np.iinfo(np.int16).max:
        key = key.astype(np.int16)
    shuffle = rng.permutation(len(key))
    order: NDArray[np.int64] = shuffle[np.argsort(key[shuffle], kind="stable")]
    return order


def group_sizes(members: int, sizes: Ints, rng: np.random.Generator) -> Ints:
    """Sizes of groups that hold all members: real sizes drawn in balance, as many as the members fill.

    Group sizes stay real when the population is a sample: there are fewer groups, not smaller ones. What the last
    group lacks or has too much is spread over all, in proportion.

    Args:
        members: how many members to place.
        sizes: `[S]` sizes to draw from, each as often as it occurs.
        rng: source of the order.

    Returns:
        Sizes of sum `members`, each at least 1 (empty if there are no members).
    """
    if members <= 0:
        return np.zeros(0, np.int64)
    # Whole permutations of the sizes before any is drawn again.
    rounds = int(members // int(sizes.sum())) + 1
    drawn = np.concatenate([rng.permutation(sizes) for _ in range(rounds)])
    filled = np.cumsum(drawn)
    last = int(np.searchsorted(filled, members))
    # The nearer of the two numbers of groups, so that rounding favours neither larger nor smaller ones.
    if last and members - filled[last - 1] < filled[last] - members:
        last -= 1
    drawn = drawn[: min(last + 1, members)]
    return apportion(members, drawn.astype(np.float64), minimum=1)
