"""Files appear whole or not at all: written beside their target, flushed to disk, then renamed over it."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


class WriteError(OSError):
    """A file that the disk did not take; the text says which, why, and that nothing was lost."""


def _flush(path: Path) -> None:
    """Force a file's (or a folder's) content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on a clean exit it becomes `path`, else it is removed.

    The temporary file keeps the suffix of the target (libraries choose formats by it) and starts with a dot.

    Args:
        path: The file to write. Missing parent folders are made.

    Yields:
        A path to write to; it does not exist yet.

    Raises:
        FileNotFoundError: The block ended without having written the temporary file.
        WriteError: The disk is full, over quota, read-only or broken; the file that was there is untouched.
    """
    target = Path(path)
    try:
        with _replacing(target) as temporary:
            yield temporary
    except OSError as error:
        if error.errno not in FULL or isinstance(error, WriteError):
            raise
        kept = "the file that was there is untouched" if target.exists() else "no part of it is left behind"
        raise WriteError(
            f"{target} could not be written ({os.strerror(error.errno)}), and {kept}; free space or choose another disk, then go on."
        ) from error


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=f".tmp{target.suffix}", dir=target.parent)
    os.close(descriptor)
    temporary = Path(name)
    temporary.unlink()
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(
                f"Nothing was written to the temporary file of {target}; write to the path that the block is given."
            )
        # mkstemp's 0600 would make results unreadable to others: give the mode an ordinary open() gives.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        _flush(temporary)
        os.replace(temporary, target)
        with suppress(OSError):  # some file systems cannot sync a folder; the rename itself is still atomic
            _flush(target.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text (UTF-8) to `path` atomically."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write plain data to `path` as indented JSON, atomically.

    NaN and infinities are refused by JSON itself; pass None for a missing number.

    Raises:
        ValueError: The content holds NaN or an infinity, or something JSON cannot write.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from calib import atomic_write_json
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atomic_write_json(Path(folder) / "a.json", {"x": 1})
        ...     print((Path(folder) / "a.json").read_text().strip())
        ...
        {
          "x": 1
        }
    """
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The content for {Path(path)} cannot be written as JSON ({error}); "
            "pass plain finite data, None for a missing number."
        ) from error
    atomic_write_text(path, text + "\n")


def atomic_write_csv(path: str | os.PathLike[str], frame: pd.DataFrame) -> None:
    """Write a table to `path` as CSV without its index, seven significant digits, atomically."""
    atomic_write_text(path, frame.to_csv(index=False, float_format="%.7g"))
