"""A language model behind an OpenAI-compatible address: retries, a limit of cost, and a bill. Nothing that it says is trusted here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

__all__ = ["Bill", "Call", "Endpoint", "EndpointError", "OverBudget", "Reply"]


class EndpointError(ValueError):
    """The model cannot be asked, or gave no answer that can be read; its text says what to do."""


class OverBudget(EndpointError):
    """Another call could cost more than is left."""


@dataclass(frozen=True)
class Call:
    """A tool that a model wants to call.

    Attributes:
        id: of the call. name: of the tool. arguments: JSON text as the model wrote it.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """What a model answered.

    Attributes:
        text: its text. calls: tools that it wants to call. finish: why it stopped: "stop", "length", "tool_calls", "content_filter".
        refusal: its words if it refused by the protocol's own field. model: as the server names it.
        tokens_in, tokens_out: as the server counted them.
    """

    text: str
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    refusal: str = ""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass
class Bill:
    """What calls cost.

    Attributes:
        limit: largest sum, in the prices' currency.
        price_in, price_out: of a million tokens.
        calls, tokens_in, tokens_out: so far.
    """

    limit: float = 1.0
    price_in: float = 0.0
    price_out: float = 0.0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def spent(self) -> float:
        """What the calls so far cost."""
        return (self.tokens_in * self.price_in + self.tokens_out * self.price_out) / 1e6

    def check(self, characters: int, tokens_out: int) -> None:
        """Refuse a call that could cost more than is left; a token is taken to have no less than two characters.

        Raises:
            OverBudget: it could.
        """
        worst = (characters / 2 * self.price_in + tokens_out * self.price_out) / 1e6
        if self.spent + worst > self.limit:
            raise OverBudget(
                f"Another call could cost {worst:.4f}, and {self.spent:.4f} of the limit {self.limit:g} are spent after {self.calls} calls; "
                "raise the limit, or ask fewer questions."
            )

    def add(self, reply: Reply) -> None:
        """Count a reply."""
        self.calls += 1
        self.tokens_in += reply.tokens_in
        self.tokens_out += reply.tokens_out


@dataclass(frozen=True)
class Endpoint:
    """A model at an address that speaks OpenAI's protocol, a local server as well.

    Attributes:
        model: its name there.
        url: base address such as `http://127.0.0.1:8080/v1`; None for the client's own default.
        key_variable: environment variable that holds the key; a local server needs none.
        seconds: limit of one call.
        retries: of calls that failed by a full server (429), a server error or a lost connection, with growing pauses.
        max_tokens: longest answer.
        bill: counts and limits what is spent.
    """

    model: str
    url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    seconds: float = 60.0
    retries: int = 4
    max_tokens: int = 1024
    bill: Bill = field(default_factory=Bill)

    @cached_property
    def _client(self) -> Any:
        try:
            import openai
        except ImportError as error:
            raise EndpointError(
                "Asking a model needs the package openai, which is not installed; install posterity with the extra [llm]."
            ) from error
        key = os.environ.get(self.key_variable) or "none"
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=self.retries, timeout=self.seconds)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Reply:
        """Ask once; retries are the client's.

        Args:
            messages: of the protocol.
            tools: that the model may call, of the protocol.
            temperature: of its draws.
            seed: of its draws, where the server heeds it.

        Raises:
            OverBudget: the call could cost more than is left; nothing was sent.
            EndpointError: the server could not be reached, refused, or sent what is no answer.
        """
        import openai

        self.bill.check(len(json.dumps([*messages, *tools], default=str)), self.max_tokens)
        options: dict[str, Any] = {"tools": list(tools)} if tools else {}
        if seed is not None:
            options["seed"] = seed
        try:
            answer = self._client.chat.completions.create(
                model=self.model,
                messages=list(messages),
                temperature=temperature,
                max_tokens=self.max_tokens,
                **options,
            )
        except openai.APIError as error:
            raise EndpointError(
                f"The model {self.model!r} gave no answer: {_line(error)}; check address, key and name."
            ) from error
        except (ValueError, TypeError) as error:  # what came back is no JSON
            raise EndpointError(
                f"The server of {self.model!r} sent what is no answer ({_line(error)}); check the address."
            ) from error
        reply = _reply(answer)
        self.bill.add(reply)
        return reply


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200].rstrip(".")


def _reply(answer: Any) -> Reply:
    choices = getattr(answer, "choices", None)
    if not choices:
        raise EndpointError("The server sent an answer without choices; it does not speak the protocol.")
    message, used = choices[0].message, getattr(answer, "usage", None)
    calls = tuple(
        Call(str(c.id), str(c.function.name), str(c.function.arguments or ""))
        for c in (message.tool_calls or ())
        if getattr(c, "function", None) is not None
    )
    return Reply(
        text=str(message.content or ""),
        calls=calls,
        finish=str(choices[0].finish_reason or ""),
        refusal=str(getattr(message, "refusal", None) or ""),
        model=str(getattr(answer, "model", "") or ""),
        tokens_in=int(getattr(used, "prompt_tokens", 0) or 0),
        tokens_out=int(getattr(used, "completion_tokens", 0) or 0),
    )
