"""A site: holds its data and answers with sums over them, never with the data."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calib._short_repr import short_repr
from calib.federated import _shares as shares
from calib.federated._emulators import Behind, from_tensors
from calib.federated._messages import Message, pack, raw, unpack, unraw
from calib.multifidelity._compiled import Compiled
from calib.multifidelity._emulator import Emulator, identity
from calib.multifidelity._problem import Observations
from calib.multifidelity._shared_error import SharedError

KEPT = 8
"""Emulators that a site remembers."""


@dataclass(eq=False)
class Site:
    """One holder of data.

    Attributes:
        name: of the site.
        observations: its own data and their likelihood; they never leave.
        fingerprint: of the public study that it answers for.
        asked: how many answers it has given, by kind.
    """

    __repr__ = short_repr

    name: str
    observations: Observations
    fingerprint: str
    asked: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._emulators: OrderedDict[str, tuple[Emulator, SharedError | None, Compiled | None]] = OrderedDict()
        self._envelope: shares.Envelope | None = None
        self._peers: tuple[str, ...] = ()
        self._own: tuple[str, bytes] = ("", b"")
        self._remembered: OrderedDict[str, bytes] = OrderedDict()

    def answer(self, message: bytes) -> bytes:
        """The answer to a request of the coordinator.

        Raises:
            ValueError: a request that it does not know.
        """
        asked = unpack(message)
        self.asked[asked.kind] = self.asked.get(asked.kind, 0) + 1
        match asked.kind:
            case "describe":
                return pack("site", {"which": self.observations.which}, name=self.name, fingerprint=self.fingerprint)
            case "keys":
                self._envelope = shares.Envelope()
                return pack("key", {"key": raw(self._envelope.public)})
            case "peers":
                assert self._envelope is not None
                self._peers = tuple(asked.text["order"].split("\n"))
                self._envelope.meet({n: unraw(x) for n, x in asked.tensors.items() if n != self.name})
                self._remembered["peers"] = message
                return pack("ready")
            case "emulator":
                self._remember(asked)
                self._remembered[asked.text["emulator"]] = message
                while len(self._remembered) > KEPT + 1:
                    self._remembered.pop(next(n for n in self._remembered if n != "peers"))
                return pack("ready")
            case "density":
                return self._reply(asked, *self._density(asked))
            case "information":
                return self._reply(asked, *self._information(asked))
            case "collect":
                return self._collect(asked)
        raise ValueError(f"site {self.name} was asked for {asked.kind!r}, which it does not know.")

    def state(self) -> bytes:
        """What the site remembers beside its data, for a site that is started anew for each request; it must not leave the site."""
        kept = {f"remembered/{n}": raw(m) for n, m in self._remembered.items()}
        if self._envelope is not None:
            kept["private"] = raw(self._envelope.private)
        return pack(
            "state", {**kept, "own": raw(self._own[1])}, request=self._own[0], order="\n".join(self._remembered)
        )

    def restore(self, state: bytes) -> None:
        """Take up what `state` gave."""
        kept = unpack(state)
        if "private" in kept.tensors:
            self._envelope = shares.Envelope(unraw(kept.tensors["private"]))
        self._own = (kept.text["request"], unraw(kept.tensors["own"]))
        for name in filter(None, kept.text["order"].split("\n")):
            self.answer(unraw(kept.tensors[f"remembered/{name}"]))

    def _remember(self, asked: Message) -> None:
        dim = int(asked.text["coordinates"])
        features = Behind(dim) if dim else identity
        emulator, errors = from_tensors(dict(asked.tensors), asked.text["link"], features)  # type: ignore[arg-type]
        compiled = None if asked.text["exact"] == "yes" else self.observations.compiled(emulator, errors)
        self._emulators[asked.text["emulator"]] = (emulator, errors, compiled)
        while len(self._emulators) > KEPT:
            self._emulators.popitem(last=False)

    def _density(self, asked: Message) -> tuple[Tensor, Tensor]:
        """Log likelihood with its derivatives in points (and features behind them) and errors, and which rows are good."""
        z, drawn = asked.tensors["z"].double(), asked.tensors["drawn"].double()
        emulator, errors, compiled = self._emulators[asked.text["emulator"]]
        if compiled is not None:
            value, to_z, to_drawn = compiled.value_and_gradients(z, drawn)
        else:
            with torch.enable_grad():
                z, drawn = z.requires_grad_(), drawn.requires_grad_()
                value = self._log_likelihood(asked.text["exact"] == "yes", emulator, errors, z, drawn)
                to_z, to_drawn = torch.autograd.grad(value.sum(), (z, drawn), materialize_grads=True)
        out = torch.cat([value.detach()[:, None], to_z, to_drawn], 1)
        return out, _good(out)

    def _log_likelihood(
        self, exact: bool, emulator: Emulator, errors: SharedError | None, z: Tensor, drawn: Tensor
    ) -> Tensor:
        if exact:
            return self.observations.log_likelihood(z, emulator(z))
        if errors is None:
            return self.observations.log_likelihood(z, *emulator.predict(z))
        mean, predictive, _ = emulator.predict_factors(z)
        return self.observations.log_likelihood(z, *errors.of(mean, predictive, drawn))

    def _information(self, asked: Message) -> tuple[Tensor, Tensor]:
        """Fisher information `[P, D * D]`, and which rows are good."""
        given = asked.tensors
        found = self.observations.information(given["z"], given["mean"], given["jacobian"], given.get("variance"))
        out = found.flatten(1)
        return out, _good(out)

    def _reply(self, asked: Message, values: Tensor, good: Tensor) -> bytes:
        """A row that is not good counts as zero, and is counted: the sum tells that some row was not, and not whose."""
        vector = torch.cat([torch.where(good[:, None], values, 0.0).flatten(), (~good).double()])
        if asked.text["sum"] == "plain":
            return pack("sum", {"vector": vector})
        assert self._envelope is not None
        about = f"{self.name} {asked.text['request']}"
        parts = dict(zip(self._peers, shares.split(vector, len(self._peers)), strict=True))
        self._own = (asked.text["request"], parts.pop(self.name))
        return pack("shares", {peer: raw(self._envelope.seal(peer, part, about)) for peer, part in parts.items()})

    def _collect(self, asked: Message) -> bytes:
        """Add up the shares that the others sealed for this site, and its own."""
        assert self._envelope is not None
        request, own = self._own
        if request != asked.text["request"]:
            raise ValueError(f"site {self.name} holds shares of request {request}, not of {asked.text['request']}.")
        opened = [self._envelope.open(n, unraw(x), f"{n} {request}") for n, x in asked.tensors.items()]
        return pack("share", {"share": raw(shares.add([own, *opened]))})


def _good(rows: Tensor) -> Tensor:
    return torch.isfinite(rows).all(1) & (rows.abs() < shares.LIMIT).all(1)
