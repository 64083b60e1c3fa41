"""How messages reach sites: one interface, and the transport within one process."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Protocol

from calib.federated._site import Site

Answer = Callable[[bytes], bytes]
"""What a site makes of a message; over a network, the way there and back."""


class Transport(Protocol):
    """Brings messages to sites and answers back, one of each at a time."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        ...

    def post(self, messages: Mapping[str, bytes]) -> None:
        """Send a message to each site named."""
        ...

    def collect(self, seconds: float) -> dict[str, bytes | Exception]:
        """Answers to the last message, or why there will be none, of sites that have answered within some seconds."""
        ...

    def close(self) -> None:
        """Let the sites go."""
        ...


class InProcess:
    """Sites in this process, asked one after the other by a thread of their own.

    Args:
        sites: the sites.
    """

    def __init__(self, sites: list[Site]) -> None:
        worker = Worker()
        self._calls = Calls({s.name: (worker, s.answer) for s in sites})

    @property
    def sites(self) -> tuple[str, ...]:
        """See `Transport`."""
        return self._calls.names

    def post(self, messages: Mapping[str, bytes]) -> None:
        """See `Transport`."""
        self._calls.post(messages)

    def collect(self, seconds: float) -> dict[str, bytes | Exception]:
        """See `Transport`."""
        return self._calls.collect(seconds)

    def close(self) -> None:
        """See `Transport`."""
        self._calls.close()


class Worker:
    """A thread that makes calls in order; a call that never ends does not keep the process alive."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[bytes], Answer, bytes] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, answer: Answer, message: bytes) -> Future[bytes]:
        """Make a call after those before it."""
        future: Future[bytes] = Future()
        self._jobs.put((future, answer, message))
        return future

    def close(self) -> None:
        """No more calls."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, answer, message = job
            try:
                future.set_result(answer(message))
            except Exception as error:  # it is the caller's, who asks for the result
                future.set_exception(error)


class Calls:
    """Calls to sites by their workers, waited for together."""

    def __init__(self, answers: Mapping[str, tuple[Worker, Answer]]) -> None:
        self._answers = dict(answers)
        self._open: dict[str, Future[bytes]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the sites."""
        return tuple(self._answers)

    def post(self, messages: Mapping[str, bytes]) -> None:
        """Start the calls."""
        for name, message in messages.items():
            worker, answer = self._answers[name]
            self._open[name] = worker.ask(answer, message)

    def collect(self, seconds: float) -> dict[str, bytes | Exception]:
        """Results of calls that end within some seconds; the others stay open."""
        end, out = time.monotonic() + seconds, dict[str, bytes | Exception]()
        for name, future in list(self._open.items()):
            try:
                out[name] = future.result(max(0.0, end - time.monotonic()))
            except TimeoutError as error:
                if not future.done():
                    continue
                out[name] = error
            except Exception as error:
                out[name] = error
            del self._open[name]
        return out

    def close(self) -> None:
        """End the workers."""
        for worker in {id(w): w for w, _ in self._answers.values()}.values():
            worker.close()
