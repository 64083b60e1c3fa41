"""Sites as processes of their own, reached by torch.distributed (gloo); the coordinator is rank 0.

Every process names the address of one store. `coordinator_store` opens it on a port that is free; a site is started with that port,
holds its data, and calls `serve`. Payloads are bytes in the safetensors format; nothing is unpickled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from calib.federated._errors import SiteError
from calib.federated._site import Site
from calib.federated._transport import Calls, Worker

IDLE = timedelta(hours=2)
LOOPBACK = "127.0.0.1"


def coordinator_store(sites: int, host: str = LOOPBACK) -> dist.TCPStore:
    """A store on a free port (`store.port`) for a coordinator and its sites."""
    return dist.TCPStore(host, 0, sites + 1, is_master=True, timeout=IDLE, wait_for_workers=False)


class GlooTransport:
    """The coordinator's end: one connection a site.

    Args:
        store: of `coordinator_store`; the sites were told its port.
        sites: how many there are.
        seconds: until all must have joined.

    Raises:
        SiteError: not all joined.
    """

    def __init__(self, store: dist.TCPStore, sites: int, seconds: float = 120.0) -> None:
        store.set_timeout(timedelta(seconds=seconds))
        try:
            self._names = tuple(store.get(f"site/{i}").decode() for i in range(sites))
        except dist.DistStoreError as error:
            raise SiteError(
                (),
                f"not all of {sites} sites joined within {seconds:g} s: start them, and the run again; nothing was lost.",
            ) from error
        store.set_timeout(IDLE)
        dist.init_process_group("gloo", store=store, rank=0, world_size=sites + 1, timeout=IDLE)
        self._calls = Calls({name: (Worker(), _over(i + 1)) for i, name in enumerate(self._names)})

    @property
    def sites(self) -> tuple[str, ...]:
        """See `Transport`."""
        return self._names

    def post(self, messages: Mapping[str, bytes]) -> None:
        """See `Transport`."""
        self._calls.post(messages)

    def collect(self, seconds: float) -> dict[str, bytes | Exception]:
        """See `Transport`."""
        return self._calls.collect(seconds)

    def close(self) -> None:
        """See `Transport`; sites that are gone are no error."""
        for rank in range(1, len(self._names) + 1):
            with suppress(RuntimeError):
                _send(b"", rank)
        self._calls.close()
        # a site that is gone would be waited for
        threading.Thread(target=_leave, daemon=True).start()


def serve(site: Site, rank: int, sites: int, port: int, host: str = LOOPBACK) -> None:
    """Answer the coordinator until it lets this site go, or is gone.

    Args:
        site: its data.
        rank: from 1 to `sites`.
        sites: how many there are.
        port: of the coordinator's store.
        host: of it.
    """
    store = dist.TCPStore(host, port, sites + 1, is_master=False, timeout=IDLE)
    store.set(f"site/{rank - 1}", site.name)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=sites + 1, timeout=IDLE)
    with suppress(RuntimeError):  # the coordinator is gone
        while message := _receive(0):
            _send(site.answer(message), 0)
    _leave()


def _over(rank: int) -> Callable[[bytes], bytes]:
    def answer(message: bytes) -> bytes:
        try:
            _send(message, rank)
            return _receive(rank)
        except RuntimeError as error:
            raise ConnectionError("its connection closed") from error

    return answer


def _send(message: bytes, rank: int) -> None:
    dist.send(torch.tensor([len(message)]), rank)
    if message:
        dist.send(torch.frombuffer(bytearray(message), dtype=torch.uint8), rank)


def _receive(rank: int) -> bytes:
    length: Tensor = torch.zeros(1, dtype=torch.int64)
    dist.recv(length, rank)
    data = torch.zeros(int(length), dtype=torch.uint8)
    if len(data):
        dist.recv(data, rank)
    return data.numpy().tobytes()


def _leave() -> None:
    with suppress(RuntimeError, AssertionError):
        dist.destroy_process_group()
