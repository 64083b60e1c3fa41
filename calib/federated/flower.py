"""The same messages as queries of a Flower app: one client app at each site, the coordinator in the server app.

Flower starts a client app for each message, so what a site remembers (emulators, keys, its own share) is kept in the context of its node, which
does not leave it. Telemetry of Flower is on by default: set `FLWR_TELEMETRY_ENABLED=0`.

References:
    Beutel, D. et al. (2020). Flower: a friendly federated learning research framework. arXiv:2007.14390.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from calib.federated._errors import SiteError
from calib.federated._messages import pack, unpack
from calib.federated._shares import MissingExtra
from calib.federated._site import Site

POLL = 0.05
"""Seconds between two looks for answers."""
RECORD = "federated"


def _flower() -> Any:
    try:
        import flwr.app
    except ImportError as error:
        raise MissingExtra("the Flower app needs the package flwr: install the extra 'federated'.") from error
    return flwr.app


class FlowerTransport:
    """Sites at the nodes of a Flower grid.

    Args:
        grid: of the server app.
        nodes: how many sites must have joined.
        seconds: until then.

    Raises:
        SiteError: not all joined or answered.
        MissingExtra: flwr is not installed.
    """

    def __init__(self, grid: Any, nodes: int, seconds: float = 120.0) -> None:
        self._grid, self._app, self._open = grid, _flower(), dict[str, str]()
        end = time.monotonic() + seconds
        while len(found := sorted(grid.get_node_ids())) < nodes and time.monotonic() < end:
            time.sleep(POLL)
        if len(found) < nodes:
            raise SiteError(
                (),
                f"{len(found)} of {nodes} sites joined within {seconds:g} s: start them, and the run again; nothing was lost.",
            )
        self._nodes = {str(node): node for node in found}
        self.post(dict.fromkeys(self._nodes, pack("describe")))
        answers = self.collect(seconds)
        missing = tuple(n for n in self._nodes if not isinstance(answers.get(n), bytes))
        if missing:
            raise SiteError(missing, f"{len(missing)} of {nodes} sites did not say who they are; nothing was lost.")
        self._nodes = {unpack(answers[n]).text["name"]: node for n, node in self._nodes.items()}  # type: ignore[arg-type]

    @property
    def sites(self) -> tuple[str, ...]:
        """See `Transport`."""
        return tuple(self._nodes)

    def post(self, messages: Mapping[str, bytes]) -> None:
        """See `Transport`."""
        sent = [
            self._app.Message(_content(self._app, data), dst_node_id=self._nodes[name], message_type="query")
            for name, data in messages.items()
        ]
        self._open = dict(zip(self._grid.push_messages(sent), messages, strict=True))

    def collect(self, seconds: float) -> dict[str, bytes | Exception]:
        """See `Transport`."""
        end, out = time.monotonic() + seconds, dict[str, bytes | Exception]()
        while self._open:
            for reply in self._grid.pull_messages(list(self._open)):
                name = self._open.pop(reply.metadata.reply_to_message_id)
                if reply.has_error():
                    out[name] = ConnectionError(f"Flower says: {reply.error.reason}")
                else:
                    out[name] = reply.content[RECORD]["message"]
            if not self._open or time.monotonic() >= end:
                break
            time.sleep(POLL)
        return out

    def close(self) -> None:
        """See `Transport`; Flower ends its nodes itself."""


def client_app(make_site: Callable[[Any], Site]) -> Any:
    """A Flower client app that answers for a site.

    Args:
        make_site: from the context of the node (`node_config` says where its data are).

    Raises:
        MissingExtra: flwr is not installed.
    """
    app = _flower()
    from flwr.clientapp import ClientApp

    client = ClientApp()

    @client.query()
    def query(message: Any, context: Any) -> Any:
        site = make_site(context)
        if RECORD in context.state:
            site.restore(context.state[RECORD]["message"])
        answer = site.answer(message.content[RECORD]["message"])
        context.state[RECORD] = app.ConfigRecord({"message": site.state()})
        return app.Message(_content(app, answer), reply_to=message)

    return client


def _content(app: Any, data: bytes) -> Any:
    return app.RecordDict({RECORD: app.ConfigRecord({"message": data})})
