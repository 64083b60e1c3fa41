"""One process writes to a run's folder at a time: a lock that the system lets go when its owner dies."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

LOCK, OWNER = ".lock", ".owner.json"


class FolderInUse(ValueError):
    """Another process is writing to the folder."""


class RunLock:
    """The right to write to a folder.

    The lock is the operating system's: when the owner is killed it is free at once. A file beside it says who the owner is, so that a
    refusal can name it, and so that whoever takes over from a dead owner knows.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # one object a path and process: a run that is opened twice by one process does not wait for itself
        self._lock = FileLock(folder / LOCK, is_singleton=True)

    def acquire(self) -> str | None:
        """Take the lock.

        Returns:
            A sentence about an earlier owner that died while it held the lock, or None.

        Raises:
            FolderInUse: another process holds it.
        """
        if self._lock.is_locked:
            return None
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise FolderInUse(
                f"{self.folder} is being written by {self._owner()}; wait for it to end, or name another output folder."
            ) from None
        before = self._owner() if (self.folder / OWNER).exists() else None
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (self.folder / OWNER).write_text(json.dumps(owner), encoding="utf-8")
        return f"An earlier {before} ended without finishing; its lock was taken over." if before else None

    def release(self) -> None:
        """Let it go; does nothing if it is not held."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self.folder / OWNER).unlink()
            self._lock.release(force=True)

    def _owner(self) -> str:
        try:
            owner = json.loads((self.folder / OWNER).read_text(encoding="utf-8"))
            return f"process {owner['pid']} on {owner['host']} (since {owner['since']})"
        except (OSError, ValueError, KeyError, TypeError):
            return "process (unknown)"
