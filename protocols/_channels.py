"""How parties exchange mail: in one process in lockstep, or as processes by torch.distributed (gloo)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from protocols._ledger import Mail

Result = TypeVar("Result")


def in_process(parties: list[Generator[Mail, Mail, Result]]) -> list[Result]:
    """Run parties in lockstep; each sees its own mail alone.

    Raises:
        RuntimeError: one ends while others wait for its mail.
    """
    sent: dict[int, Mail] = {rank: next(p) for rank, p in enumerate(parties)}
    results: dict[int, Result] = {}
    while sent:
        if len(sent) != len(parties):
            gone = sorted(set(range(len(parties))) - set(sent))
            raise RuntimeError(f"party {gone[0]} ended while others wait for it; all must run one protocol.")
        inboxes = [{i: mail[rank] for i, mail in sent.items() if rank in mail} for rank in range(len(parties))]
        sent = {}
        for rank, (p, inbox) in enumerate(zip(parties, inboxes, strict=True)):
            try:
                sent[rank] = p.send(inbox)
            except StopIteration as end:
                results[rank] = end.value
    return [results[rank] for rank in range(len(parties))]


def over_gloo(party: Generator[Mail, Mail, Result]) -> Result:
    """Run this process's party with those of the other ranks of the process group.

    Raises:
        RuntimeError: another party is gone.
    """
    mail = next(party)
    while True:
        works, kept = [], []
        for to, array in mail.items():
            data = torch.from_numpy(np.ascontiguousarray(array).view(np.uint8).ravel().copy())
            length = torch.tensor([data.numel()])
            kept += [data, length]
            works.append(dist.isend(length, to))
            if data.numel():
                works.append(dist.isend(data, to))
        inbox: dict[int, Any] = {}
        for other, array in mail.items():
            length = torch.zeros(1, dtype=torch.int64)
            dist.recv(length, other)
            data = torch.zeros(int(length), dtype=torch.uint8)
            if data.numel():
                dist.recv(data, other)
            inbox[other] = data.numpy().view(array.dtype)
        for work in works:
            if work is not None:
                work.wait()
        try:
            mail = party.send(inbox)
        except StopIteration as end:
            result: Result = end.value
            return result
