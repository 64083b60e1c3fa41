"""The coordinator: asks all sites, adds up what they answer, and keeps a ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from calib.federated import _shares as shares
from calib.federated._emulators import rows_of, to_tensors, with_features
from calib.federated._errors import SiteError, named
from calib.federated._ledger import Ledger
from calib.federated._messages import Message, pack, unpack, unraw
from calib.federated._transport import Transport
from calib.multifidelity._emulator import Emulator, FeatureMap, identity
from calib.multifidelity._shared_error import SharedError

Sums = Literal["plain", "secure"]
MAX_BAD = 5
"""Requests in a row without a finite row, after which the run ends."""


class Federation:
    """Sites behind a transport, of which sums alone are asked.

    Args:
        transport: reaches the sites.
        fingerprint: of the public study; a site that answers for another one is refused.
        sums: "secure": secret shares, the coordinator sees the sum alone; "plain": it sees each site's own.
        seconds: after which a site counts as late, and `notice` is told.
        patience: seconds that a late site is still waited for.
        notice: is told one sentence where the run goes on although something is wrong.

    Raises:
        SiteError: a site does not answer, or answers for another study.
        ValueError: a secure sum of fewer than two sites.

    Attributes:
        which: `[F_s]` by site, the outputs that it has data of.
        ledger: rounds, bytes, seconds.
    """

    def __init__(
        self,
        transport: Transport,
        fingerprint: str,
        *,
        sums: Sums = "plain",
        seconds: float = 60.0,
        patience: float = 600.0,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._transport, self._sums, self._seconds, self._patience = transport, sums, seconds, patience
        self._notice, self._numbers, self.ledger = notice, {"request": 0, "emulator": 0}, Ledger()
        self._bad, self._told = dict[str, int](), False
        self._maps: dict[str, FeatureMap] = {}
        self.sites = transport.sites
        found = self._ask({name: pack("describe") for name in self.sites}, "describe")
        for name, site in found.items():
            if site.text["fingerprint"] != fingerprint:
                raise SiteError(
                    (name,),
                    f"site {name} answers for study {site.text['fingerprint'] or 'without fingerprint'}, and {fingerprint} was expected: "
                    "give it the same study and tables; nothing was lost.",
                )
        self.which = {name: site.tensors["which"] for name, site in found.items()}
        if sums == "secure":
            shares.threshold(len(self.sites))
            shares.check_installed()
            keys = {n: m.tensors["key"] for n, m in self._ask({n: pack("keys") for n in self.sites}, "keys").items()}
            self._ask({n: pack("peers", keys, order="\n".join(self.sites)) for n in self.sites}, "peers")

    def publish(
        self,
        emulator: Emulator,
        errors: SharedError | None,
        columns: Mapping[str, Tensor],
        dim: int,
        *,
        exact: bool = False,
    ) -> str:
        """Send an emulator and shared errors to the sites.

        Args:
            emulator: public.
            errors: that outputs share, or None.
            columns: `[F_s]` by site, which of the emulator's outputs are its own.
            dim: number of coordinates D.
            exact: whether the emulator's own error is left out.

        Returns:
            The name by which densities are asked for.
        """
        key = self._next("emulator")
        self._maps[key] = emulator.feature_map
        messages = {
            name: pack(
                "emulator",
                to_tensors(emulator.of(at), None if errors is None else rows_of(errors, at)),
                emulator=key, link=emulator.link, exact="yes" if exact else "no",
                coordinates="0" if emulator.feature_map is identity else str(dim),
            )
            for name, at in columns.items()
        }  # fmt: skip
        self._ask(messages, "emulator")
        return key

    def density(self, emulator: str, z: Tensor, drawn: Tensor, *, exact: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Log likelihood of all sites' data `[P]` at `z [P, D]` and shared errors `drawn [P, K]`, and its derivatives in both.

        A row that is not finite at some site is NaN.

        Raises:
            SiteError: a site does not answer, or no row of several requests was finite.
        """
        points, back = with_features(self._maps[emulator], z.double())
        given = {"z": points, "drawn": drawn.double()}
        rows = self._total("density", given, len(z), emulator=emulator, exact="yes" if exact else "no")
        value, to_points, to_drawn = rows.split([1, points.shape[1], drawn.shape[1]], 1)
        return value[:, 0], back(to_points), to_drawn

    def information(self, z: Tensor, mean: Tensor, jacobian: Tensor, variance: Tensor | None) -> Tensor:
        """Fisher information of all sites' data, `[P, D, D]`; arguments as of `Observations.information`."""
        given = {"z": z, "mean": mean, "jacobian": jacobian}
        if variance is not None:
            given["variance"] = variance.expand_as(mean)
        return self._total("information", given, len(z)).unflatten(1, (z.shape[1], -1))

    def close(self) -> None:
        """Let the sites go."""
        self._transport.close()

    def _total(self, kind: str, given: dict[str, Tensor], count: int, **text: str) -> Tensor:
        """Sum of rows over the sites, `[P, n]`."""
        request = self._next("request")
        message = pack(kind, given, sum=self._sums, request=request, **text)
        answers = self._ask(dict.fromkeys(self.sites, message), kind)
        if self._sums == "plain":
            vector = torch.stack([answers[name].tensors["vector"] for name in self.sites]).sum(0)
        else:
            vector = self._secure(answers, request, kind)
        rows, bad = vector[:-count].unflatten(0, (count, -1)), vector[-count:] > 0.5
        self._watch(bool(bad.all()), kind, count, answers)
        return torch.where(bad[:, None], torch.nan, rows)

    def _watch(self, bad: bool, kind: str, count: int, answers: Mapping[str, Message]) -> None:
        """Go on where no row of a request was finite, as a step too far does, and end where that stays so."""
        self._bad[kind] = self._bad.get(kind, 0) + 1 if bad else 0
        if not bad:
            return
        who = "a site"
        if self._sums == "plain":
            flags = {n: m.tensors["vector"][-count:] for n, m in answers.items()}
            who = named(tuple(n for n, x in flags.items() if bool((x > 0.5).any())))
        if not self._told:
            self._told = True
            self._notice(
                f"the {kind} of {who} is not finite at any of {count} points; the run goes on without these points."
            )
        if self._bad[kind] >= MAX_BAD:
            raise SiteError(
                (),
                f"the {kind} of {who} was not finite at any point of {MAX_BAD} requests in a row, and the run ends: look at the data there; "
                "what was saved is kept.",
            )

    def _secure(self, answers: Mapping[str, Message], request: str, kind: str) -> Tensor:
        """Second round: each site gets the shares that the others sealed for it, and answers with the share of the sum."""
        messages = {
            to: pack("collect", {n: answers[n].tensors[to] for n in self.sites if n != to}, request=request)
            for to in self.sites
        }
        found = self._ask(messages, f"{kind}: shares")
        enough = self.sites[: shares.threshold(len(self.sites)) + 1]
        return shares.join({1 + self.sites.index(n): unraw(found[n].tensors["share"]) for n in enough})

    def _ask(self, messages: Mapping[str, bytes], kind: str) -> dict[str, Message]:
        """One round: a message to each site, an answer of each."""
        began, answers = time.perf_counter(), dict[str, bytes]()
        self._transport.post(messages)
        self._take(self._transport.collect(self._seconds), answers)
        late = tuple(name for name in messages if name not in answers)
        if late:
            self._notice(
                f"{named(late)} did not answer within {self._seconds:g} s; the run waits {self._patience:g} s more and then goes on or ends."
            )
            self._take(self._transport.collect(self._patience), answers)
            late = tuple(name for name in messages if name not in answers)
            if late:
                raise SiteError(
                    late,
                    f"{named(late)} did not answer within {self._seconds + self._patience:g} s, and the run ends; what was saved is kept: "
                    "resume it when the site is back, or calibrate without the site.",
                )
        seconds = time.perf_counter() - began
        self.ledger.add(kind, sum(len(m) for m in messages.values()), sum(len(a) for a in answers.values()), seconds)
        return {name: unpack(answers[name]) for name in messages}

    def _take(self, found: Mapping[str, bytes | Exception], answers: dict[str, bytes]) -> None:
        for name, answer in found.items():
            if isinstance(answer, Exception):
                raise SiteError(
                    (name,),
                    f"site {name} left the run ({str(answer).splitlines()[0] if str(answer) else type(answer).__name__}), and the run ends; "
                    "what was saved is kept: resume it when the site is back, or calibrate without the site.",
                ) from answer
            answers[name] = answer

    def _next(self, what: str) -> str:
        self._numbers[what] += 1
        return str(self._numbers[what])
