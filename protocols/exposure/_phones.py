"""Phones: keys of their own, identifiers that they heard, and the exposures that published keys show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from protocols.exposure._keys import KEY_BYTES, ROLLING_PERIOD, identifiers

KEPT_DAYS = 14
"""Days that keys and identifiers heard are kept."""


class Heard(NamedTuple):
    """One encounter as a phone keeps it.

    Attributes:
        day: of the encounter. minutes: its length. attenuation: median of the signal's, dB.
    """

    day: int
    minutes: float
    attenuation: float


class Published(NamedTuple):
    """A key on the server: nothing else of its owner is known there.

    Attributes:
        tek: 16 bytes. start: first interval number that it holds for.
    """

    tek: bytes
    start: int


@dataclass(frozen=True)
class Risk:
    """Which exposures are notified.

    Attributes:
        buckets: upper ends of attenuation buckets, dB; above the last nothing counts.
        weights: of minutes in each bucket.
        minutes: weighted minutes with one key (one person on one day) from which on there is a notification.

    References:
        The buckets and weights of the "wider net" configuration, Linux Foundation Public Health (2021), rounded.
    """

    buckets: tuple[float, ...] = (55.0, 70.0, 80.0)
    weights: tuple[float, ...] = (1.5, 1.0, 0.4)
    minutes: float = 15.0

    def weighted(self, heard: Heard) -> float:
        """Weighted minutes of an encounter."""
        for end, weight in zip(self.buckets, self.weights, strict=True):
            if heard.attenuation <= end:
                return weight * heard.minutes
        return 0.0


@dataclass(eq=False)
class Phones:
    """The phones of all users.

    What each phone heard is kept together here, by day and identifier; no phone is shown what another heard.

    Attributes:
        count: number of phones.
        seed: of the keys: a simulation must repeat, a phone draws from its system.
        first: interval number at which day 0 begins.
        risk: which exposures are notified.
        broadcasts: identifiers that were heard.
    """

    count: int
    seed: int
    first: int = 2642976
    risk: Risk = field(default_factory=Risk)
    broadcasts: int = 0

    def __post_init__(self) -> None:
        self._identifiers: dict[tuple[int, int], list[bytes]] = {}
        self._heard: dict[int, dict[bytes, list[tuple[int, Heard]]]] = {}
        self._keys: dict[int, bytes] = {}

    def key(self, phone: int, day: int) -> Published:
        """The key of a phone on a day."""
        if day not in self._keys:
            generator = np.random.Generator(np.random.Philox(key=[self.seed, day]))
            self._keys[day] = generator.bytes(KEY_BYTES * self.count)
        tek = self._keys[day][KEY_BYTES * phone : KEY_BYTES * (phone + 1)]
        return Published(tek, self.first + day * ROLLING_PERIOD)

    def broadcast(self, phone: int, day: int, interval: int) -> bytes:
        """The identifier that a phone sends in an interval of a day, 0..143."""
        own = self._identifiers.get((phone, day))
        if own is None:
            own = self._identifiers[(phone, day)] = identifiers(*self.key(phone, day))
        self.broadcasts += 1
        return own[interval]

    def hear(self, phone: int, identifier: bytes, heard: Heard) -> None:
        """Keep an identifier that a phone heard."""
        self._heard.setdefault(heard.day, defaultdict(list))[identifier].append((phone, heard))

    def upload(self, phone: int, day: int) -> list[Published]:
        """The keys that the owner of a phone publishes on a day: those of the last days."""
        return [self.key(phone, d) for d in range(max(0, day - KEPT_DAYS), day + 1)]

    def notified(self, published: Iterable[Published]) -> dict[int, int]:
        """Phones that find an exposure that counts among published keys, and the day of the last such exposure.

        Every phone derives all identifiers of all keys by itself; here they are derived once, since all come to the same.
        """
        minutes: dict[tuple[int, int], float] = defaultdict(float)
        last: dict[tuple[int, int], int] = {}
        for n, key in enumerate(published):
            # an identifier counts on the day of its key alone
            known = self._heard.get((key.start - self.first) // ROLLING_PERIOD, {})
            for rpi in (rpi for rpi in identifiers(*key) if rpi in known):
                for phone, heard in known[rpi]:
                    minutes[(phone, n)] += self.risk.weighted(heard)
                    last[(phone, n)] = heard.day
        out: dict[int, int] = {}
        for (phone, n), total in minutes.items():
            if total >= self.risk.minutes:
                out[phone] = max(out.get(phone, 0), last[(phone, n)])
        return out

    def forget(self, day: int) -> None:
        """Delete what is older than two weeks."""
        self._heard = {d: known for d, known in self._heard.items() if d >= day - KEPT_DAYS}
        self._keys = {d: keys for d, keys in self._keys.items() if d >= day - KEPT_DAYS - 1}
        self._identifiers = {k: v for k, v in self._identifiers.items() if k[1] >= day}
