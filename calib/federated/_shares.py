"""Secret shares of vectors of real numbers: fixed point, Shamir's scheme of mpyc, sealed for the one who may read them.

A real number x becomes the integer round(x 2^40) in a prime field; a polynomial of degree t with that constant and coefficients drawn
uniformly is evaluated at 1..m, a share for each of m sites. Any t shares are uniform whatever x is, and t + 1 give x. Shares of sums are
sums of shares. Shares travel through the coordinator, so each is sealed with a key that two sites alone know (X25519, HKDF, AES-GCM).

References:
    Shamir, A. (1979). How to share a secret. Communications of the ACM 22:612.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

PRIME = 2**127 - 1
"""Modulus of the field, a Mersenne prime."""
FRACTION = 40
"""Bits behind the point: sums are off by at most 2^-41 a site."""
BYTES = 16
"""Of a share."""
LIMIT = 2.0**70
"""Largest magnitude that is shared."""
NONCE = 12


class MissingExtra(ImportError):
    """A package of the extra `private` is not installed."""


@lru_cache
def _library() -> tuple[Any, Any]:
    """The field, and the module of mpyc that shares and recombines.

    Raises:
        MissingExtra: mpyc is not installed.
    """
    # mpyc reads the command line when it is imported, which is that of somebody else
    kept, sys.argv = sys.argv, sys.argv[:1]
    try:
        from mpyc import finfields, thresha
    except ImportError as error:
        raise MissingExtra("secure sums need the package mpyc: install the extra 'private'.") from error
    finally:
        sys.argv = kept
    return finfields.GF(PRIME), thresha


def check_installed() -> None:
    """See that mpyc is there.

    Raises:
        MissingExtra: it is not.
    """
    _library()


def threshold(sites: int) -> int:
    """How many shares tell nothing: the largest number below half of the sites, but at least one.

    Raises:
        ValueError: one site alone.
    """
    if sites < 2:
        raise ValueError(f"a secure sum of {sites} site was asked for, expected at least 2: take a plain sum.")
    return max(1, (sites - 1) // 2)


def split(values: Tensor, sites: int) -> list[bytes]:
    """Shares of `values [L]`, finite and below `LIMIT`, one for each site."""
    field, thresha = _library()
    whole = np.array([round(x * 2**FRACTION) % PRIME for x in values.tolist()], dtype=object)
    rows = thresha.np_random_split(field, whole, threshold(sites), sites)
    return [_to_bytes(row) for row in rows]


def add(shares: list[bytes]) -> bytes:
    """The share of a sum from the shares of its terms."""
    total = sum((_from_bytes(s) for s in shares[1:]), _from_bytes(shares[0]))
    return _to_bytes(np.asarray(total % PRIME, dtype=object))


def join(shares: Mapping[int, bytes]) -> Tensor:
    """The values `[L]` from shares by number of the site (from 1); more than the threshold of them."""
    field, thresha = _library()
    points = [(x, _from_bytes(s)) for x, s in shares.items()]
    found = thresha.np_recombine(field, points).value
    signed = [int(x) - PRIME if x > PRIME // 2 else int(x) for x in found]
    return torch.tensor([x / 2**FRACTION for x in signed], dtype=torch.float64)


def _to_bytes(row: np.ndarray) -> bytes:
    return b"".join(int(x).to_bytes(BYTES, "little") for x in row)


def _from_bytes(data: bytes) -> np.ndarray:
    return np.array(
        [int.from_bytes(data[i : i + BYTES], "little") for i in range(0, len(data), BYTES)] or [], dtype=object
    )


class Envelope:
    """Keys of one site: seals bytes so that one other site alone can read them, and opens what was sealed for it.

    Args:
        private: the private key, 32 bytes; None for a new one.

    Raises:
        MissingExtra: cryptography is not installed.
    """

    def __init__(self, private: bytes | None = None) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
        except ImportError as error:
            raise MissingExtra("secure sums need the package cryptography: install the extra 'private'.") from error
        self._private = X25519PrivateKey.generate() if private is None else X25519PrivateKey.from_private_bytes(private)
        self._ciphers: dict[str, Any] = {}

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @property
    def private(self) -> bytes:
        """The private key, which must not leave the site, 32 bytes."""
        return self._private.private_bytes_raw()

    def meet(self, peers: Mapping[str, bytes]) -> None:
        """Agree on keys with peers, from their public keys."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        for name, key in peers.items():
            common = self._private.exchange(X25519PublicKey.from_public_bytes(key))
            secret = HKDF(SHA256(), 16, None, b"federated sums").derive(common)
            self._ciphers[name] = AESGCM(secret)

    def seal(self, peer: str, data: bytes, about: str) -> bytes:
        """Sealed bytes; `about` names sender and request, and must be the same when they are opened."""
        nonce = os.urandom(NONCE)
        sealed: bytes = self._ciphers[peer].encrypt(nonce, data, about.encode())
        return nonce + sealed

    def open(self, peer: str, sealed: bytes, about: str) -> bytes:
        """What a peer sealed.

        Raises:
            ValueError: it was changed on its way, or sealed by another.
        """
        from cryptography.exceptions import InvalidTag

        try:
            data: bytes = self._ciphers[peer].decrypt(sealed[:NONCE], sealed[NONCE:], about.encode())
            return data
        except InvalidTag as error:
            raise ValueError(
                f"a share said to be of site {peer} does not open with its key; do not trust the sum."
            ) from error
