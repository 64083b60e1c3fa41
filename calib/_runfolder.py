"""A run is a folder: its manifest says what was run, on what, for how long, and how it ended."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from calib._atomic import atomic_write_json, atomic_write_text
from calib._runlock import LOCK, OWNER, FolderInUse, RunLock
from calib._verify import Verification, checksums, sha256_of, verify_files

MANIFEST = "manifest.json"
SEAL = ".manifest.sha256"
"""Next to the manifest of a complete run: its own checksum."""
FORMAT = 1
LIBRARIES = (
    "posterity",
    "torch",
    "pyro-ppl",
    "chirho",
    "torchdiffeq",
    "zuko",
    "arviz",
    "xarray",
    "h5netcdf",
    "numba",
    "numpy",
    "pandas",
    "scoringrules",
    "matplotlib",
)


TYPES: dict[str, type | tuple[type, ...]] = {
    "study": str, "seed": int, "configuration": dict, "status": str, "timings": dict, "simulations": dict, "notices": list,
    "resumed": list, "skipped": dict, "parameters": list, "versions": dict, "peak_memory_gib": (int, float),
}  # fmt: skip
"""Types of entries of a manifest, where they are there."""


class RunFolderError(ValueError):
    """A folder cannot hold, or does not hold, the run that was asked for."""


class RunInterrupted(KeyboardInterrupt):
    """A signal ended the run; its folder can be resumed."""


def versions(libraries: Collection[str] = LIBRARIES) -> dict[str, str]:
    """Installed versions of Python and of the libraries; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_gib() -> float:
    """Largest resident memory of this process so far, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # bytes there, KiB on Linux


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as JSON gives it back (tuples become lists), so that comparisons are fair.

    Raises:
        RunFolderError: a number is not finite.
    """
    plain: dict[str, Any] = {}
    for key, entry in value.items():
        try:
            plain[key] = json.loads(json.dumps(entry, allow_nan=False))
        except ValueError as error:
            raise RunFolderError(
                f"Entry {key!r} of a run's manifest holds a number that is not finite ({entry!r}); JSON has none: give None instead."
            ) from error
    return plain


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first entries that differ, in words."""
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    shown = ", ".join(f"{key} = {old.get(key)!r} there and {new.get(key)!r} here" for key in keys[:3])
    return shown + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


class RunFolder:
    """One run's folder and its manifest; every change reaches the disk atomically.

    Make one with `RunFolder.create` (writes) or `RunFolder.open` (reads an existing run).

    Attributes:
        path: The folder.
        manifest: Plain data as in `manifest.json`; change it through the methods.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], interval: float = 5.0) -> None:
        self.path = path
        self.manifest = manifest
        self._interval = interval
        self._held: tuple[str, str | None] | None = None  # manifest and seal of a run that is resumed, as they were
        self._written = -float("inf")
        self._lock = RunLock(path)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        study: str,
        configuration: Mapping[str, Any],
        seed: int,
        device: str = "cpu",
        resume: bool = False,
        free: Collection[str] = (),
    ) -> RunFolder:
        """Start a run in a new or empty folder, or go on with the same run.

        Args:
            path: The folder; made if absent.
            study: Name of the study.
            configuration: Plain data that decides the result.
            seed: The run's seed.
            device: The device in words.
            resume: Go on with the run that the folder holds; starts one if the folder is empty.
            free: Keys of the configuration that may differ on resuming (limits of time, verbosity).

        Returns:
            The folder, its manifest written with status `running`.

        Raises:
            RunFolderError: The folder holds another run, the same run without `resume`, or files of
                something else. Nothing in it has been changed then.
        """
        folder = Path(path)
        wanted = _plain({"study": study, "seed": seed, **configuration})
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file, where the folder of a run was expected; name another folder.")
        if (folder / MANIFEST).exists():
            run = cls.open(folder)
            held = {
                "study": run.manifest["study"],
                "seed": run.manifest["seed"],
                **run.manifest["configuration"],
            }
            old, new = ({k: v for k, v in side.items() if k not in free} for side in (held, wanted))
            if old != new:
                raise RunFolderError(
                    f"{folder} holds another run ({_difference(old, new)}); "
                    "name another output folder, or remove that one if it is not needed."
                )
            if not resume:
                raise RunFolderError(
                    f"{folder} holds this run already (status {run.manifest['status']}, started "
                    f"{run.manifest['started']}); resume it, name another output folder, or remove that one."
                )
            before = run._take()
            # what another process wrote before it ended
            run.manifest = cls.open(folder).manifest
            if before and before not in run.manifest["notices"]:
                run.manifest["notices"].append(before)
            seal = folder / SEAL
            run._held = (
                (folder / MANIFEST).read_text(encoding="utf-8"),
                seal.read_text(encoding="utf-8") if seal.is_file() else None,
            )
            run.manifest["resumed"].append(_now())
            run.manifest.pop("sha256", None)  # of files that are written anew
            run.manifest["configuration"] = _plain(configuration)
            run.manifest.update(status="running", error=None, versions=versions(), device=device)
            run.flush()
            return run
        if folder.exists() and any(entry.name not in (".gitignore", LOCK, OWNER, SEAL) for entry in folder.iterdir()):
            raise RunFolderError(
                f"{folder} holds files but no {MANIFEST}, so it is not the folder of a run; "
                "name an empty or a new folder."
            )
        run = cls(
            folder,
            {
                "format": FORMAT,
                "study": study,
                "status": "running",
                "error": None,
                "seed": seed,
                "configuration": _plain(configuration),
                "device": device,
                "versions": versions(),
                "started": _now(),
                "resumed": [],
                "updated": _now(),
                "timings": {},
                "simulations": {},
                "skipped": {},
                "peak_memory_gib": 0.0,
                "notices": [],
            },
        )
        folder.mkdir(parents=True, exist_ok=True)
        run._take()
        if (folder / MANIFEST).exists():  # another process was faster
            run._lock.release()
            raise RunFolderError(f"{folder} was taken by another process a moment ago; name another output folder.")
        run.flush()
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Read the run that a folder holds.

        Raises:
            RunFolderError: There is no manifest, or it is damaged.
        """
        folder = Path(path)
        file = folder / MANIFEST
        if not file.is_file():
            raise RunFolderError(f"{folder} holds no {MANIFEST}, so no run; name the folder of a run.")
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(manifest, dict):
                raise TypeError(f"it holds a {type(manifest).__name__}, where an object was expected")
            missing = {"format", "study", "seed", "configuration", "status", "timings", "simulations"} - set(manifest)
        except (ValueError, TypeError, RecursionError, OSError) as error:
            raise RunFolderError(
                f"{file} is damaged ({error}); restore it, or start the run anew in another folder."
            ) from error
        if missing or manifest["format"] != FORMAT:
            found = f"lacks {', '.join(sorted(missing))}" if missing else f"has format {manifest['format']}"
            raise RunFolderError(f"{file} {found}, where a manifest of format {FORMAT} was expected; start anew.")
        wrong = [key for key, kind in TYPES.items() if key in manifest and not isinstance(manifest[key], kind)]
        if wrong or not all(isinstance(entry, dict) and "name" in entry for entry in manifest.get("parameters", [])):
            key = wrong[0] if wrong else "parameters"
            raise RunFolderError(
                f"{file}: entry {key!r} is a {type(manifest[key]).__name__} of another kind than a run writes; restore the file, or start anew."
            )
        return cls(folder, manifest)

    def _take(self) -> str | None:
        """Take the folder's lock and remove what a dead owner left half written; a sentence about that owner, or None.

        Raises:
            RunFolderError: another process is writing to the folder.
        """
        try:
            before = self._lock.acquire()
        except FolderInUse as error:
            raise RunFolderError(str(error)) from None
        for half in self.path.rglob(".*.tmp*"):
            with suppress(OSError):
                half.unlink()
        return before

    def verify(self) -> Verification:
        """Compare the run's files with the checksums in its manifest.

        Raises:
            RunFolderError: the run has not ended, so that nothing was recorded.
        """
        recorded = self.manifest.get("sha256")
        if not isinstance(recorded, dict):
            raise RunFolderError(
                f"{self.path} (a run with status {self.manifest['status']}) has no checksums; run it to its end first."
            )
        found = verify_files(self.path, recorded)
        return found if self.intact() else replace(found, changed=(MANIFEST, *found.changed))

    def intact(self) -> bool:
        """Whether the manifest is as the run wrote it; yes where nothing says otherwise."""
        try:
            return (self.path / SEAL).read_text(encoding="ascii").strip() == sha256_of(self.path / MANIFEST)
        except FileNotFoundError:
            return True
        except (OSError, UnicodeDecodeError):
            return False

    def file(self, name: str) -> Path:
        """Path of a file in the folder; its parent folders exist afterwards."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def update(self, **entries: Any) -> None:
        """Set entries of the manifest (plain data) and write it."""
        self.manifest.update(_plain(entries))
        self.flush()

    def notice(self, text: str) -> None:
        """Add a sentence that the report must show; the same sentence is kept once."""
        if text not in self.manifest["notices"]:
            self.manifest["notices"].append(text)
            self.flush()

    def count(self, purpose: str, number: int = 1) -> None:
        """Add to the number of simulations made for a purpose (`fit`, `forecast`, ...)."""
        self._add("simulations", purpose, number)

    def skip(self, what: str, number: int = 1) -> None:
        """Add to the number of things skipped (`steps`, `draws`, ...)."""
        self._add("skipped", what, number)

    def _add(self, group: str, key: str, number: int) -> None:
        entries = self.manifest[group]
        entries[key] = entries.get(key, 0) + int(number)
        # counted every step of a fit: the disk sees it every few seconds, and at the end of each phase
        if time.monotonic() - self._written >= self._interval:
            self.flush()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds that the block takes to `timings[name]`, also when it fails."""
        start = time.perf_counter()

        def timed() -> None:
            timings = self.manifest["timings"]
            timings[name] = round(timings.get(name, 0.0) + time.perf_counter() - start, 3)
            self.flush()

        try:
            yield
        except BaseException:
            with suppress(OSError):
                timed()
            raise
        timed()

    @contextmanager
    def running(self, refused: tuple[type[BaseException], ...] = ()) -> Iterator[RunFolder]:
        """Status `complete` after the block, `interrupted` after SIGINT or SIGTERM, `failed` with the error's text if it raises.

        A run that was sealed in the block stays complete whatever comes after. The folder's lock is let go at the end.

        Args:
            refused: errors that say that the run cannot be resumed (a damaged checkpoint, one of another run): a run that was
                resumed keeps the manifest it had.

        Raises:
            RunInterrupted: a signal ended the block.
        """
        try:
            with _signals():
                yield self
            self.seal()
        except KeyboardInterrupt as error:
            with suppress(OSError):
                if self.manifest["status"] != "complete":
                    self.update(status="interrupted", error=str(error) or "interrupted")
            if isinstance(error, RunInterrupted):
                raise
            raise RunInterrupted("interrupted") from error
        except BaseException as error:
            if isinstance(error, refused) and self._held is not None:
                (self.path / SEAL).unlink(missing_ok=True)
                manifest, seal = self._held
                atomic_write_text(self.path / MANIFEST, manifest)
                if seal is not None:
                    atomic_write_text(self.path / SEAL, seal)
                raise
            with suppress(OSError):  # a full disk must not hide the error that ended the run
                if self.manifest["status"] != "complete":
                    self.update(status="failed", error=f"{type(error).__name__}: {error}")
            raise
        finally:
            self._lock.release()

    def seal(self) -> None:
        """Say that the run is complete, and record the checksums of its files as they are now."""
        self.manifest["sha256"] = checksums(self.path)
        self.update(status="complete", error=None)

    @contextmanager
    def redrawing(self, *parts: str) -> Iterator[None]:
        """Hold the folder of a finished run while the block writes some of its files anew; their checksums are recorded after it.

        Args:
            *parts: names of files and folders in the run's folder; all other files keep the checksums they had.

        Raises:
            RunFolderError: another process is writing to the folder.
        """
        self._take()
        try:
            try:
                yield
            finally:  # also of those files that were written before an error
                recorded = self.manifest.get("sha256")
                if isinstance(recorded, dict):
                    new = {n: h for n, h in checksums(self.path).items() if n.split("/")[0] in parts}
                    self.update(sha256=recorded | new)
        finally:
            self._lock.release()

    def flush(self) -> None:
        """Write the manifest now."""
        self.manifest["updated"] = _now()
        self.manifest["peak_memory_gib"] = round(max(self.manifest["peak_memory_gib"], peak_memory_gib()), 3)
        # first away, then anew: a kill between leaves a manifest without a seal, never one with the seal of another
        (self.path / SEAL).unlink(missing_ok=True)
        atomic_write_json(self.path / MANIFEST, self.manifest)
        if self.manifest["status"] == "complete" and "sha256" in self.manifest:
            atomic_write_text(self.path / SEAL, sha256_of(self.path / MANIFEST) + "\n")
        self._written = time.monotonic()


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM ends the block as SIGINT does; only the main thread can ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        del frame
        raise RunInterrupted(f"ended by {signal.Signals(number).name}")

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
