"""Who holds which data: each region its own counts, what is counted by nothing regional the national office; and how a site reads its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from calib import ParameterSpace
from calib.multifidelity import Stream, StreamObservations, observe
from calib.storage import atomic_write_csv
from epi.data import Data, Layout
from epi.errors import DataError
from epi.model import parameter_space
from epi.model.distributions import SMALLEST_MEAN
from epi.study import BetaBinomial, load_study

NATIONAL = "national office"
FILE = "observations.csv"


def tables(data: Data, layout: Layout) -> dict[str, pd.DataFrame]:
    """Observations that the likelihood uses by holder: columns stream, week (number), place, value."""
    study, rows = layout.study, dict[str, list[tuple[str, int, str, float]]]()
    for name in data.streams:
        stream = study.stream(name)
        if isinstance(stream.family, BetaBinomial):
            raise DataError(
                f"Stream {name} counts positives among the tested, expected counts or levels: leave it out of the fit."
            )
        places = layout.places[name]
        for week, at in data.in_likelihood[name].nonzero().tolist():
            holder = places[at] if stream.by == study.region.axis else NATIONAL
            rows.setdefault(holder, []).append((name, week, places[at], float(data.counts[name][week, at])))
    order = [*(r for r in study.region.names if r in rows), *(h for h in rows if h == NATIONAL)]
    return {h: pd.DataFrame(rows[h], columns=["stream", "week", "place", "value"]) for h in order}


def grouped(found: Mapping[str, pd.DataFrame], sites: int) -> dict[str, pd.DataFrame]:
    """Holders together at so many sites, or one each if there are fewer; a site is named after its first holder."""
    names = np.array_split(np.array(list(found), dtype=object), min(sites, len(found)))
    return {
        str(some[0]) + (f" and {len(some) - 1} more" if len(some) > 1 else ""): pd.concat([found[n] for n in some])
        for some in names
    }


def write(folder: Path, found: Mapping[str, pd.DataFrame]) -> list[Path]:
    """A folder for each site with its own table; a site reads no other."""
    out = []
    for number, (name, table) in enumerate(found.items()):
        place = folder / f"site_{number:02d}"
        place.mkdir(parents=True, exist_ok=True)
        atomic_write_csv(place / FILE, table.assign(site=name))
        out.append(place)
    return out


def observations(table: pd.DataFrame, layout: Layout, space: ParameterSpace) -> StreamObservations:
    """The observations of a table as the likelihood takes them in."""
    study, streams = layout.study, []
    for name in layout.places:
        own = table[table["stream"] == name]
        if own.empty:
            continue
        stream, places = study.stream(name), layout.places[name]
        data = torch.full((layout.weeks, len(places)), torch.nan, dtype=torch.float64)
        at = [places.index(p) for p in own["place"]]
        data[torch.tensor(own["week"].to_numpy()), torch.tensor(at)] = torch.tensor(own["value"].to_numpy(float))
        sd = study.dispersion(name)
        assert sd is not None
        family = "counts" if stream.counts else "log-normal"
        streams.append(Stream(layout.slices[name], data, family, sd, study.overdispersion(name)))  # type: ignore[arg-type]
    return observe(space, streams, floor=SMALLEST_MEAN)


def read(source: str, folder: Path) -> tuple[str, StreamObservations, str]:
    """What a site knows: its name, its observations, and the fingerprint of the public study."""
    study = load_study(source)
    layout = Layout(study, study.calendar.weeks(last=study.calendar.forecast_from))
    space, table = parameter_space(study), pd.read_csv(folder / FILE)
    return str(table["site"].iloc[0]), observations(table, layout, space), fingerprint(layout, space)


def fingerprint(layout: Layout, space: ParameterSpace) -> str:
    """Of what is public: parameters with their priors, and the order of the outputs."""
    digest = hashlib.sha256(space.describe().to_csv(float_format="%.5g").encode())
    digest.update(repr(layout.labels()).encode())
    return digest.hexdigest()[:16]
