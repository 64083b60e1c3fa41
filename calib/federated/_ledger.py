"""What a federation cost: rounds, bytes and seconds, by kind of request."""

from __future__ import annotations

from dataclasses import dataclass, field

from calib._short_repr import short_repr


@dataclass
class Ledger:
    """Counts of the coordinator.

    Attributes:
        rounds: requests to all sites, by kind.
        sent, received: bytes, by kind.
        seconds: until all sites had answered, by kind.
    """

    __repr__ = short_repr

    rounds: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, sent: int, received: int, seconds: float) -> None:
        """Enter one round."""
        for table, amount in ((self.rounds, 1), (self.sent, sent), (self.received, received)):
            table[kind] = table.get(kind, 0) + amount
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds

    def total(self) -> dict[str, float]:
        """Sums over the kinds: `rounds`, `bytes` both ways, `seconds`."""
        return {
            "rounds": sum(self.rounds.values()),
            "bytes": sum(self.sent.values()) + sum(self.received.values()),
            "seconds": sum(self.seconds.values()),
        }
