"""Whether a run's files are those that it wrote: checksums in the manifest, compared on request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SKIPPED = ("manifest.json",)


@dataclass(frozen=True)
class Verification:
    """What a comparison of files with their checksums found; names are relative to the folder.

    Attributes:
        same: files as they were written. changed: files with another content. missing: files that are gone.
        added: files that the run did not write.
    """

    same: tuple[str, ...]
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether every file of the run is there as it was written."""
        return not (self.changed or self.missing)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder but the manifest and hidden ones, by name relative to it."""
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and not any(q.startswith(".") for q in p.relative_to(folder).parts)
    )
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in files if p.name not in SKIPPED}


def verify_files(folder: Path, recorded: Mapping[str, str]) -> Verification:
    """Compare the files of a folder with recorded checksums.

    Args:
        folder: the run's folder.
        recorded: `{name: sha256}`, as the manifest keeps them.
    """
    now = checksums(folder)
    return Verification(
        same=tuple(n for n in recorded if now.get(n) == recorded[n]),
        changed=tuple(n for n in recorded if n in now and now[n] != recorded[n]),
        missing=tuple(n for n in recorded if n not in now),
        added=tuple(n for n in now if n not in recorded),
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
