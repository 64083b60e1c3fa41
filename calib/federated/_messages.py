"""Messages between coordinator and sites: named tensors and short texts as bytes in the safetensors format, so no code travels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Message:
    """What was sent.

    Attributes:
        kind: what is asked or answered.
        tensors: by name.
        text: short texts by name.
    """

    kind: str
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    text: Mapping[str, str] = field(default_factory=dict)


def pack(kind: str, tensors: Mapping[str, Tensor] | None = None, **text: str) -> bytes:
    """Bytes of a message; `unpack` is the inverse."""
    kept = {name: x.detach().cpu().contiguous() for name, x in (tensors or {}).items()}
    return save(kept, {"kind": kind, **text})


def unpack(message: bytes) -> Message:
    """Read a message.

    Raises:
        ValueError: the bytes are none.
    """
    try:
        tensors = load(message)
        length = int.from_bytes(message[:8], "little")
        text = json.loads(message[8 : 8 + length])["__metadata__"]
        return Message(text.pop("kind"), tensors, text)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{len(message)} bytes came that are no message; both ends must run one version.") from error


def raw(data: bytes) -> Tensor:
    """Bytes as a tensor."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)


def unraw(data: Tensor) -> bytes:
    """A tensor of bytes as bytes."""
    return data.numpy().tobytes()
