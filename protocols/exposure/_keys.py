"""Keys of exposure notification: what phones broadcast and what the diagnosed publish, as in the published specification.

A phone draws a temporary exposure key (TEK) of 16 bytes a day. From it come the rolling proximity identifiers (RPI) that it broadcasts, one
for each ten minutes, which nobody can tell from random bytes or link to one another without the key, and a key that hides the transmit power
that goes along. Who is diagnosed publishes the keys of the last two weeks; all phones derive the identifiers and look for them among those
that they heard.

References:
    Apple & Google (2020). Exposure Notification, Cryptography Specification, version 1.2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

INTERVAL_SECONDS = 600
"""Seconds of an interval number."""
ROLLING_PERIOD = 144
"""Intervals of a key: one day."""
KEY_BYTES = 16


class MissingCryptography(ImportError):
    """The package cryptography is not installed."""


@lru_cache
def _library() -> tuple[Any, ...]:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise MissingCryptography(
            "keys of phones need the package cryptography: install the extra 'private'."
        ) from error
    return Cipher, algorithms, modes, SHA256, HKDF


def interval_number(seconds: int) -> int:
    """ENIntervalNumber of a time in seconds since 1970."""
    return seconds // INTERVAL_SECONDS


def identifier_key(tek: bytes) -> bytes:
    """RPIK: the key of the identifiers of a day, 16 bytes."""
    return _derive(tek, b"EN-RPIK")


def metadata_key(tek: bytes) -> bytes:
    """AEMK: the key of the metadata of a day, 16 bytes."""
    return _derive(tek, b"EN-AEMK")


def identifiers(tek: bytes, start: int, count: int = ROLLING_PERIOD) -> list[bytes]:
    """RPIs of the intervals `start`, `start + 1`, ..., 16 bytes each.

    Args:
        tek: the temporary exposure key.
        start: first interval number.
        count: how many.
    """
    cipher, algorithms, modes, _, _ = _library()
    padded = np.zeros((count, KEY_BYTES), dtype=np.uint8)
    padded[:, :6] = np.frombuffer(b"EN-RPI", dtype=np.uint8)
    padded[:, 12:] = np.arange(start, start + count, dtype="<u4")[:, None].view(np.uint8)
    found = cipher(algorithms.AES(identifier_key(tek)), modes.ECB()).encryptor().update(padded.tobytes())
    return [found[i : i + KEY_BYTES] for i in range(0, len(found), KEY_BYTES)]


def encrypt_metadata(tek: bytes, identifier: bytes, metadata: bytes) -> bytes:
    """AEM: metadata (version, transmit power) under the key of the day and the identifier; the same call decrypts it."""
    cipher, algorithms, modes, _, _ = _library()
    out: bytes = cipher(algorithms.AES(metadata_key(tek)), modes.CTR(identifier)).encryptor().update(metadata)
    return out


def _derive(tek: bytes, info: bytes) -> bytes:
    _, _, _, sha256, hkdf = _library()
    out: bytes = hkdf(sha256(), KEY_BYTES, None, info).derive(tek)
    return out
