"""The reference: Sobol indices of the calibrated inputs by sampling, kept piece by piece so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from calib import LEAST_DRAWS, SobolDesign, SobolIndices, sobol_design, sobol_indices
from calib.storage import atomic_path
from epi.errors import StudyError
from epi.sensitivity.outputs import Output
from epi.sensitivity.simulate import Advance, Array, Work

REPLICATES = 2
PURPOSE = "sobol, two replicates"
REPEAT = "runs of the reference made again"
BLOCK = 8
"""Rows of the design made together."""
EVERY = 20.0
"""Seconds between two writings of the file."""
REPEATED = 4
"""Runs of a reference that are made again before it is believed."""
TOLERANCE = 0.05
"""Median relative difference of the repeated runs above which the reference is of another model (chosen; 0 on the same machine)."""


@dataclass(frozen=True)
class Columns:
    """Groups of calibrated inputs that the reference moves: each site whole, and each element of a vector site.

    Attributes:
        names: of the groups. members: their columns. sites: how many of them are whole sites; they come first.
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    sites: int

    def of_sites(self) -> Columns:
        """The whole sites alone."""
        return Columns(self.names[: self.sites], self.members[: self.sites], self.sites)


@dataclass(frozen=True, eq=False)
class Reference:
    """Runs of a Saltelli design.

    Attributes:
        values: `[draw, 2 + group, replicate, output]`.
        columns: its groups. outputs: names of the outputs.
        seconds_per_run: of one process. agents, device: of its runs.
    """

    values: Array
    columns: Columns
    outputs: tuple[str, ...]
    seconds_per_run: float
    agents: int
    device: str

    @property
    def runs(self) -> int:
        """Number of runs."""
        return int(np.prod(self.values.shape[:3]))

    def of(self, output: Output, rows: slice = slice(None)) -> Array:
        """Values of one output, `[draw, 2 + group, replicate]`.

        Raises:
            StudyError: the reference does not hold it.
        """
        if output.name not in self.outputs:
            raise StudyError(
                f"The reference holds {', '.join(self.outputs)}, and not {output.name!r}; make a reference that does, or leave it out."
            )
        return self.values[rows, ..., self.outputs.index(output.name)]

    def indices(self, output: Output, generator: np.random.Generator, rows: slice = slice(None)) -> SobolIndices:
        """Sobol indices of one output, from all rows or some."""
        return sobol_indices(self.of(output, rows), generator)


def columns_of(names: tuple[str, ...]) -> Columns:
    """Sites first, then the elements of those that are vectors."""
    sites: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        sites.setdefault(name.split("[")[0], []).append(i)
    elements = [(names[i], (i,)) for members in sites.values() if len(members) > 1 for i in members]
    rows = [(name, tuple(members)) for name, members in sites.items()] + elements
    return Columns(tuple(r[0] for r in rows), tuple(r[1] for r in rows), len(sites))


def problem_of(work: Work) -> str:
    """What the runs of a design depend on, as far as it can be read off: parameters with their priors, weeks, agents."""
    s = work.simulator
    text = s.space.describe().to_json() + str([str(w) for w in s.observation.weeks])
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {s.population.agents}"


def make_reference(
    work: Work, columns: Columns, outputs: Sequence[Output], count: int, file: Path, device: str, advance: Advance
) -> Reference:
    """Run the design, or what is left of it: both replicates of a row share their random stream along it (common random numbers).

    Args:
        work: the model.
        columns: groups of inputs.
        outputs: scalar outputs; their values are kept.
        count: rows N.
        file: where values are kept, written every 20 seconds.
        device: in words, kept with them.
        advance: told the number of runs done.

    Raises:
        StudyError: the file belongs to another analysis or is damaged.
    """
    design = sobol_design(count, work.dim, work.seed, columns.members)
    asked = {
        "problem": problem_of(work), "names": columns.names, "outputs": tuple(o.name for o in outputs), "rows": count, "seed": work.seed,
    }  # fmt: skip
    done, seconds = np.empty((0, 2 + len(columns.members), REPLICATES, len(outputs))), 0.0
    if file.is_file():
        with _opened(file) as data:
            if _identity(data) != asked:
                raise StudyError(f"{file} holds runs of another analysis; remove it or name another output folder.")
            done, seconds = data["values"].values, float(data.attrs["seconds"])
    advance(int(np.prod(done.shape[:3])))
    written = time.monotonic()
    pieces, before = [done], work.ledger.seconds.get(PURPOSE, 0.0)
    for start in range(len(done), count, BLOCK):
        pieces.append(_rows(work, design, range(start, min(start + BLOCK, count)), outputs, advance))
        if start + BLOCK >= count or time.monotonic() - written > EVERY:
            pieces = [np.concatenate(pieces)]
            spent = seconds + work.ledger.seconds.get(PURPOSE, 0.0) - before
            _keep(pieces[0], asked, columns, spent, work, device, file)
            written = time.monotonic()
    return load_reference(file)


def _rows(work: Work, design: SobolDesign, rows: range, outputs: Sequence[Output], advance: Advance) -> Array:
    points = design.points(list(rows))
    streams = np.repeat(np.array(rows), points.shape[1])
    flat = points.reshape(-1, points.shape[-1])
    copies = [
        work.values(flat, PURPOSE, 100 + r, streams=streams, outputs=outputs, advance=advance)
        for r in range(REPLICATES)
    ]
    return np.stack(copies, 1).reshape(*points.shape[:2], REPLICATES, len(outputs))


def _identity(data: xr.Dataset) -> dict[str, object]:
    names = tuple(str(n) for n in data["point"].values[2:])
    outputs = tuple(str(n) for n in data["output"].values)
    rows, seed = int(data.attrs["rows"]), int(data.attrs["seed"])
    return {"problem": data.attrs["problem"], "names": names, "outputs": outputs, "rows": rows, "seed": seed}


def _keep(
    values: Array, asked: dict[str, object], columns: Columns, seconds: float, work: Work, device: str, file: Path
) -> None:
    runs = int(np.prod(values.shape[:3]))
    data = xr.Dataset(
        {"values": (("draw", "point", "replicate", "output"), values)},
        coords={"point": ["A", "B", *columns.names], "output": list(asked["outputs"])},  # type: ignore[call-overload]
        attrs={
            "problem": asked["problem"], "rows": asked["rows"], "sites": columns.sites, "seconds": seconds,
            "seconds_per_run": seconds / max(runs, 1), "agents": work.simulator.population.agents, "seed": work.seed,
            "members": json.dumps(columns.members), "device": device,
        },
    )  # fmt: skip
    with atomic_path(file) as temporary:
        data.to_netcdf(temporary, engine="h5netcdf")


def _opened(file: Path) -> xr.Dataset:
    try:
        data = xr.load_dataset(file, engine="h5netcdf")
        missing = {"problem", "rows", "sites", "members", "seconds", "agents", "seed"} - set(data.attrs)
    except (OSError, KeyError, ValueError) as error:
        raise StudyError(f"{file} is damaged ({error}); remove it, and its runs are made again.") from error
    if missing or "values" not in data or "point" not in data.coords:
        raise StudyError(f"{file} holds no runs of a reference; name a file that --levels reference wrote.")
    return data


def load_reference(file: Path) -> Reference:
    """Read a file of `make_reference`; only whole rows are in it.

    Raises:
        FileNotFoundError: there is no such file.
        StudyError: it is damaged or holds something else.
    """
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}; make it with --levels reference.")
    with _opened(file) as data:
        members = tuple(tuple(int(i) for i in group) for group in json.loads(data.attrs["members"]))
        columns = Columns(tuple(str(n) for n in data["point"].values[2:]), members, int(data.attrs["sites"]))
        return Reference(
            np.asarray(data["values"].values, dtype=float), columns, tuple(str(n) for n in data["output"].values),
            float(data.attrs["seconds_per_run"]), int(data.attrs["agents"]), str(data.attrs.get("device", "")),
        )  # fmt: skip


def believed(file: Path, work: Work, outputs: Sequence[Output]) -> Reference:
    """A reference made elsewhere, after a few of its runs were made again.

    Args:
        file: of `make_reference`.
        work: the model of the report.
        outputs: of the report.

    Raises:
        FileNotFoundError: there is no such file.
        StudyError: it is damaged, of other parameters or another scale, or its runs come out differently here.
    """
    found = load_reference(file)
    with _opened(file) as data:
        problem, seed, rows = (data.attrs[k] for k in ("problem", "seed", "rows"))
    if found.agents != work.simulator.population.agents:
        raise StudyError(
            f"{file} holds runs of {found.agents:,} agents, and this report's have {work.simulator.population.agents:,}; choose the --scale "
            "of the one for the other."
        )
    if problem != problem_of(work):
        raise StudyError(
            f"{file} holds runs of other parameters, priors or weeks than this version of the model has; make it anew with --levels reference."
        )
    both = [o for o in outputs if o.name in found.outputs]
    few = np.arange(min(REPEATED, len(found.values)))
    points = sobol_design(int(rows), work.dim, int(seed), found.columns.members).points(few.tolist())[:, 0]
    here = replace(work, seed=int(seed), workers=None).values(points, REPEAT, 100, streams=few, outputs=both)
    there = np.stack([found.of(o, slice(0, len(few)))[:, 0, 0] for o in both], -1)
    gap = float(np.nanmedian(np.abs(here / there - 1)))
    if not gap <= TOLERANCE:
        raise StudyError(
            f"{file}: {len(few)} of its runs were made again and differ by {100 * gap:.0f} % (median), so it is of another model; make it anew "
            "with --levels reference."
        )
    return found


def reliability(found: Reference, output: Output, generator: np.random.Generator) -> dict[str, float | None]:
    """Has the reference converged? Rank correlation of its halves over the sites, and the widest interval of its first five.

    Returns:
        `halves`, None with too few rows; `half_width`: largest half of a 95 % interval, relative to the index, among the first five;
        `first_five`: bootstrap probability that the least sure of its first five belongs there.
    """
    sites = found.of(output)[:, : 2 + found.columns.sites]
    half = len(sites) // 2
    totals = [
        sobol_indices(part, generator, replicates=20).total.value
        for part in (sites[:half], sites[half:])
        if half >= LEAST_DRAWS
    ]
    total = sobol_indices(sites, generator).total
    top = total.rank <= 5
    width = 0.5 * (total.high - total.low)[top] / total.value[top]
    return {
        "halves": float(spearmanr(*totals).statistic) if totals else None,
        "half_width": float(width.max()),
        "first_five": float(total.top_five[top].min()),
    }
