"""What each party sent, received and learnt, and how long it took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Mail = dict[int, NDArray[np.generic]]
"""Arrays by party: to whom, or from whom."""


@dataclass
class Ledger:
    """Of one party.

    Attributes:
        rounds: exchanges with all others.
        sent, received: bytes.
        opened: by kind of sum, how many numbers the party has learnt.
        shares: by kind, how many shares of others it has held.
        computing: seconds of its own work, the waiting left out.
    """

    rounds: int = 0
    sent: int = 0
    received: int = 0
    opened: dict[str, int] = field(default_factory=dict)
    shares: dict[str, int] = field(default_factory=dict)
    computing: float = 0.0
    _since: float = field(default_factory=time.perf_counter)

    def send(self, mail: Mail) -> Mail:
        """Enter what is about to be sent; returns it."""
        self.rounds += 1
        self.sent += sum(x.nbytes for x in mail.values())
        self.computing += time.perf_counter() - self._since
        return mail

    def receive(self, mail: Mail) -> Mail:
        """Enter what came; returns it."""
        self._since = time.perf_counter()
        self.received += sum(x.nbytes for x in mail.values())
        return mail

    def learn(self, kind: str, opened: int, shares: int) -> None:
        """Enter sums that were opened and shares that were held."""
        self.opened[kind] = self.opened.get(kind, 0) + opened
        self.shares[kind] = self.shares.get(kind, 0) + shares
