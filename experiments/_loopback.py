"""A server on this machine that speaks OpenAI's protocol and answers by a function: for measurements and tests of clients."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Raw", "completion", "loopback"]


class Raw(Exception):
    """An answer that is sent as it is: status, body and headers."""

    def __init__(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, dict(headers or {})


def completion(text: str, calls: Sequence[tuple[str, str]] = (), finish: str | None = None) -> dict[str, Any]:
    """An answer of the protocol: text, or tools to call as (name, JSON arguments)."""
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(calls)
        ]
    return {
        "id": "loopback", "object": "chat.completion", "created": 0, "model": "loopback",
        "choices": [{"index": 0, "message": message, "finish_reason": finish or ("tool_calls" if calls else "stop")}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip


@contextmanager
def loopback(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[str]:
    """Serve while the context is open; yields the base address.

    Args:
        answer: from the body of a request to an answer; it may raise `Raw`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer one request."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {"Content-Type": "application/json"}
            try:
                status, text = 200, json.dumps(answer(body))
            except Raw as raw:
                status, text = raw.status, raw.body
                headers |= raw.headers
            data = text.encode()
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
