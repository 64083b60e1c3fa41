"""Sums of vectors that parties hold, by additive secret shares of 64-bit integers.

A party splits each of its integers into random shares, one for each party that takes part in the sum: all but its own are uniform modulo
2^64, and so are any of them together as long as one is missing. Everybody adds up the shares it holds, and the sums of shares are opened:
they add up to the total, modulo 2^64. A sum tells its total and what can be concluded from that and from one's own term: of two parties each
learns the other's.

References:
    Cramer, R., Damgård, I. & Nielsen, J. (2015). Secure Multiparty Computation and Secret Sharing. Cambridge University Press, chapter 1.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols._ledger import Ledger, Mail

Steps = Generator[Mail, Mail, NDArray[np.int64]]
"""A part of a protocol: yields what is to be sent, is sent what came, returns its result."""

FRACTION = 30
"""Bits behind the point of real numbers in sums."""
LARGEST = 2.0**31
"""Largest real number in a sum: that of a thousand parties stays below 2^63 / 2^FRACTION."""


@dataclass(frozen=True, eq=False)
class Sharing:
    """Who takes part in which sum.

    Attributes:
        rank: of this party.
        venues: by other party, which of the party's venues its people visit too, in ascending order of the venues.
        width: number of the party's venues; what follows them in a vector all parties share.
    """

    rank: int
    venues: dict[int, NDArray[np.int64]]
    width: int

    def columns(self, other: int, length: int, *, venues: bool) -> NDArray[np.int64]:
        """Where the sums with another party stand in vectors of some length."""
        if not venues:
            return np.arange(length)
        return np.concatenate([self.venues[other], np.arange(self.width, length)])


def agree(rank: int, size: int, venues: NDArray[np.int64], ledger: Ledger) -> Generator[Mail, Mail, Sharing]:
    """Tell one another which venues one's people visit: what only one party visits is never sent."""
    others = [j for j in range(size) if j != rank]
    came = ledger.receive((yield ledger.send(dict.fromkeys(others, venues))))
    both = {j: np.flatnonzero(np.isin(venues, came[j], assume_unique=True)) for j in others}
    ledger.learn("which venues others visit", sum(len(x) for x in came.values()), 0)
    return Sharing(rank, both, len(venues))


def total(values: NDArray[np.int64], sharing: Sharing, kind: str, ledger: Ledger, *, venues: bool = True) -> Steps:
    """Sum over the parties of integers.

    Args:
        values: `[P, n]` own terms: the party's venues, then what all share; without venues all share everything.
        sharing: who takes part.
        kind: name of the sum in the ledger.
        ledger: of this party.
        venues: whether the vector begins with venues.
    """
    own = values.astype(np.uint64)
    at = {j: sharing.columns(j, values.shape[1], venues=venues) for j in sharing.venues}
    shares: Mail = {}
    for j, columns in at.items():
        share = random(len(values), len(columns))
        own[:, columns] -= share
        shares[j] = share
    came = ledger.receive((yield ledger.send(shares)))
    for j, columns in at.items():
        own[:, columns] += came[j].astype(np.uint64, copy=False).reshape(len(values), -1)
    opened = ledger.receive((yield ledger.send({j: own[:, columns].copy() for j, columns in at.items()})))
    out = own.copy()
    for j, columns in at.items():
        out[:, columns] += opened[j].astype(np.uint64, copy=False).reshape(len(values), -1)
    held = sum(x.size for x in came.values())
    known = np.unique(np.concatenate([*at.values(), np.zeros(0, dtype=np.int64)]))
    ledger.learn(kind, len(values) * len(known), held)
    return out.view(np.int64)


def total_real(
    values: NDArray[np.float64], sharing: Sharing, kind: str, ledger: Ledger, *, venues: bool = True
) -> Generator[Mail, Mail, NDArray[np.float64]]:
    """Sum over the parties of real numbers, to 2^-30 a party; arguments as of `total`.

    Raises:
        ValueError: a number does not fit the fixed point, or is not finite.
    """
    if not bool((np.abs(values) < LARGEST).all()):
        raise ValueError(
            f"a number of {np.abs(values).max():.3g} is to enter the sum {kind!r}, expected below {LARGEST:.3g}: scale the cotangent down."
        )
    whole = np.round(values * 2.0**FRACTION).astype(np.int64)
    found = yield from total(whole, sharing, kind, ledger, venues=venues)
    return found / 2.0**FRACTION


def random(rows: int, columns: int) -> NDArray[np.uint64]:
    """Uniform 64-bit integers from the operating system."""
    return np.frombuffer(os.urandom(8 * rows * columns), dtype=np.uint64).reshape(rows, columns)
