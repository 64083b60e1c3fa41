"""Simulations split over the processes of a `torchrun`: rank 0 leads, the others simulate what it sends them.

The flow, the optimiser, the files and the console stay with rank 0, so that a run over N ranks is a run of one process whose simulator
happens to be fast: the same particles, the same random streams, the same steps, in the same order.
"""

from __future__ import annotations

import os
import signal
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from calib._config import FitError, Interrupted

Split = Callable[[Tensor, int, Tensor], Tensor]
"""`(rows [p, K], seed, streams [p]) -> [p, M]`; row p of the result depends on row p and stream p alone."""

STOP, FORWARD, TAPE, BACKWARD = range(4)
HEADER = 6  # operation, function, ticket, rows, columns, seed
KEPT = 64
"""Graphs that a rank keeps for the backward pass; older ones are dropped."""
IDLE = timedelta(hours=12)


class RankLost(Interrupted):
    """A process of the run died; what was done is kept, and a run with another number of ranks can go on."""


class RemoteError(RuntimeError):
    """A simulation failed on another rank; the text is that rank's own."""


class Team:
    """The processes of one run.

    Every rank registers the same functions in the same order. Rank 0 then calls what `split` gave it; the others `serve`.

    Attributes:
        rank: of this process. size: number of processes.
    """

    def __init__(self, rank: int, size: int, wire: torch.device) -> None:
        self.rank, self.size, self._wire = rank, size, wire
        self._functions: list[Split] = []
        self._graphs: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()
        self._ticket, self._told_to_stop = 0, False

    @classmethod
    def join(cls, device: str = "cpu") -> Team | None:
        """Join the processes that `torchrun` started; None in a process that it did not start, or that is alone.

        Headers and tensors on the CPU travel by gloo, tensors on GPUs by NCCL; a rank uses the GPU of its local rank.

        Args:
            device: "cpu" or "cuda", where the simulations are.

        Raises:
            FitError: more processes than GPUs on this host.
        """
        if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
            return None
        wire = torch.device("cpu")
        if device == "cuda":
            here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
            if here > gpus:
                raise FitError(
                    f"torchrun started {here} processes on a host with {gpus} GPUs; start one a GPU, or use the CPU"
                )
            wire = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(wire)
        if not dist.is_initialized():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=IDLE)
        team = cls(dist.get_rank(), dist.get_world_size(), wire)
        if team.rank == 0:
            # torchrun ends the others when one dies: rank 0 goes on to its next call, where its state is whole
            signal.signal(signal.SIGTERM, team._on_term)
        return team

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._told_to_stop = True

    def split(self, function: Split) -> Split:
        """Register a function and get it back split over the ranks: differentiable in its rows, in the order of its rows.

        Args:
            function: see `Split`; differentiable by autograd, or without a graph.
        """
        index = len(self._functions)
        self._functions.append(function)

        def everywhere(rows: Tensor, seed: int, streams: Tensor) -> Tensor:
            out: Tensor = _Everywhere.apply(rows, self, index, seed, streams)
            return out

        return everywhere

    def parts(self, count: int) -> list[slice]:
        """Rows of each rank, in order: as even as they can be."""
        edges = [count * r // self.size for r in range(self.size + 1)]
        return [slice(a, b) for a, b in pairwise(edges)]

    # -- rank 0 ------------------------------------------------------------------------------------------------------

    def call(self, index: int, rows: Tensor, seed: int, streams: Tensor, *, tape: bool) -> tuple[int, Tensor]:
        """Run a function on all ranks; with a tape each keeps its graph. Returns the ticket of the graphs and `[P, M]`."""
        self._ticket += 1
        own, *others = self.parts(len(rows))
        kind = TAPE if tape else FORWARD
        for rank, part in enumerate(others, start=1):
            if part.start < part.stop:
                header = [kind, index, self._ticket, part.stop - part.start, rows.shape[1], seed]
                self._post(rank, header, streams[part].cpu(), rows[part])
        first = (
            self._compute(index, self._ticket, rows[own], seed, streams[own], tape) if own.start < own.stop else None
        )
        gathered = self._collect(first, others)
        return self._ticket, gathered.to(rows)

    def backward(self, ticket: int, gradient: Tensor) -> Tensor:
        """Pull `[P, M]` back to the rows, `[P, K]`."""
        own, *others = self.parts(len(gradient))
        for rank, part in enumerate(others, start=1):
            if part.start < part.stop:
                header = [BACKWARD, 0, ticket, part.stop - part.start, gradient.shape[1], 0]
                self._post(rank, header, None, gradient[part])
        first = self._pull(ticket, gradient[own]) if own.start < own.stop else None
        return self._collect(first, others).to(gradient)

    def release(self) -> None:
        """Let the other ranks go, and wait until they have heard it; rank 0 ends with this. Ranks that are gone are no error."""
        for rank in range(1, self.size):
            with suppress(RuntimeError):
                dist.send(torch.tensor([STOP] + [0] * (HEADER - 1)), rank)
                dist.recv(torch.zeros(2, dtype=torch.int64), rank)
        dist.destroy_process_group()

    def _post(self, rank: int, header: list[int], streams: Tensor | None, rows: Tensor) -> None:
        if self._told_to_stop:
            raise RankLost(_lost("a rank"))
        try:
            dist.send(torch.tensor(header, dtype=torch.int64), rank)
            if streams is not None:
                dist.send(streams.to(torch.int64).contiguous(), rank)
            dist.send(self._packed(rows), rank)
        except RuntimeError as error:
            raise RankLost(_lost(f"rank {rank}")) from error

    def _collect(self, first: Tensor | Exception | None, others: list[slice]) -> Tensor:
        """Results in the order of the ranks; all are received before a failure is raised, so that none is left on the way."""
        results: list[Tensor | Exception] = [] if first is None else [first]
        for rank, part in enumerate(others, start=1):
            if part.start < part.stop:
                results.append(self._receive(rank, part.stop - part.start))
        failure = next((r for r in results if isinstance(r, Exception)), None)
        if failure is not None:
            raise failure
        return torch.cat([r.to(self._wire) for r in results if isinstance(r, Tensor)])

    def _receive(self, rank: int, rows: int) -> Tensor | RemoteError:
        try:
            # the header comes by gloo, which notices a death at once; NCCL would wait
            status = torch.zeros(2, dtype=torch.int64)
            dist.recv(status, rank)
            if status[0] == 0:
                text = torch.zeros(int(status[1]), dtype=torch.uint8)
                dist.recv(text, rank)
                return RemoteError(bytes(text.tolist()).decode("utf-8", "replace"))
            out = torch.zeros(rows, int(status[1]), dtype=torch.float64, device=self._wire)
            dist.recv(out, rank)
        except RuntimeError as error:
            raise RankLost(_lost(f"rank {rank}")) from error
        return out

    # -- the other ranks, and rank 0's own share
    # --------------------------------------------------------------------

    def serve(self) -> None:
        """Simulate what rank 0 sends, until it releases this rank.

        Raises:
            RankLost: rank 0 died.
        """
        while True:
            header = torch.zeros(HEADER, dtype=torch.int64)
            try:
                dist.recv(header, 0)
                kind, index, ticket, count, columns, seed = header.tolist()
                if kind == STOP:
                    dist.send(torch.zeros(2, dtype=torch.int64), 0)
                    dist.destroy_process_group()
                    return
                streams = torch.zeros(count, dtype=torch.int64)
                if kind != BACKWARD:
                    dist.recv(streams, 0)
                rows = torch.zeros(count, columns, dtype=torch.float64, device=self._wire)
                dist.recv(rows, 0)
            except RuntimeError as error:
                raise RankLost(_lost("rank 0")) from error
            back = kind == BACKWARD
            self._answer(
                self._pull(ticket, rows) if back else self._compute(index, ticket, rows, seed, streams, kind == TAPE)
            )

    def _answer(self, result: Tensor | Exception) -> None:
        try:
            if isinstance(result, Exception):
                text = torch.tensor(list(f"{type(result).__name__}: {result}".encode()), dtype=torch.uint8)
                dist.send(torch.tensor([0, len(text)]), 0)
                dist.send(text, 0)
            else:
                packed = self._packed(result)
                dist.send(torch.tensor([1, packed.shape[1]]), 0)
                dist.send(packed, 0)
        except RuntimeError as error:
            raise RankLost(_lost("rank 0")) from error

    def _compute(
        self, index: int, ticket: int, rows: Tensor, seed: int, streams: Tensor, tape: bool
    ) -> Tensor | Exception:
        leaf = rows.detach().cpu().double().requires_grad_(tape)
        try:
            with torch.set_grad_enabled(tape):
                out = self._functions[index](leaf, seed, streams.cpu())
        except Exception as error:  # it is raised on rank 0, or handed on there
            return error
        if tape:
            self._graphs[ticket] = (leaf, out)
            while len(self._graphs) > KEPT:
                self._graphs.popitem(last=False)
        return out.detach()

    def _pull(self, ticket: int, gradient: Tensor) -> Tensor | Exception:
        if ticket not in self._graphs:
            return RemoteError(
                f"the graph of call {ticket} was dropped: at most {KEPT} are kept between forward and backward pass"
            )
        leaf, out = self._graphs.pop(ticket)
        if not out.requires_grad:
            return torch.zeros_like(leaf)
        try:
            return torch.autograd.grad(out, leaf, gradient.to(out))[0]
        except Exception as error:
            return error

    def _packed(self, rows: Tensor) -> Tensor:
        return rows.detach().to(self._wire, torch.float64).contiguous()


class _Everywhere(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, team: Team, index: int, seed: int, streams: Tensor) -> Tensor:
        ctx.team = team
        ctx.ticket, out = team.call(index, rows, seed, streams, tape=bool(ctx.needs_input_grad[0]))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.team.backward(ctx.ticket, gradients[0]), None, None, None, None


def _lost(who: str) -> str:
    return (
        f"{who} of this run died or was ended, and the run ends with it; what was done is kept: "
        "resume it, with as many ranks as there are"
    )
