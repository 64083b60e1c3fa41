"""Level 2: one reverse pass a random stream gives the sensitivity to every input of the epidemic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

import sim
from epi.errors import StudyError
from epi.model.observation import by_day, observe
from epi.model.simulator import usable
from epi.model.transmission import HostTables, host_tables, make_rates
from epi.outputs.former_names import region_axis
from epi.sensitivity.outputs import Output
from epi.sensitivity.screen import doses, iso, venues
from epi.sensitivity.simulate import Advance, Array, Work
from epi.study import Study

PURPOSE = "every input, one reverse pass a stream"
RATES = ("transmission", "infectiousness", "susceptibility", "importation", "mixing")


def every_input(work: Work, z: Array, outputs: Sequence[Output], streams: int, advance: Advance) -> xr.Dataset:
    """Elasticities `d output / d log rate` of all rates at one parameter value, with standard errors over random streams.

    Args:
        work: the model.
        z: `[D]`, where.
        outputs: the scalar outputs.
        streams: number of random streams.
        advance: told the number of runs done.

    Returns:
        For each rate its elasticity and `_se`, dims `(output, ...)`; `arrival (output, day, region)` and `arrival_week`:
        what one more infection arriving does; `value`, `value_sd`; attributes `inputs` and
        `seconds_per_stream`, of the fastest batch.
    """
    s = work.simulator
    if s.observation.share.shape[-1] != len(s.study.ages) * len(s.study.dose_states):
        raise StudyError("Elasticities of single rates need archetypes of age and doses alone; leave this level out.")
    theta = work.theta(torch.as_tensor(z)[None])
    with torch.no_grad():
        hosts = host_tables(theta, s.context)
        rates, _ = usable(make_rates(theta, hosts, s.context), hosts)
    kept: dict[str, list[Array]] = {name: [] for name in (*RATES, "arrival", "value")}
    fastest, composition = float("inf"), _composition(work)
    for start in range(0, streams, work.batch):
        own = torch.arange(start, min(start + work.batch, streams))
        began = time.perf_counter()
        leaves = rates.map(lambda x: x.detach().expand(len(own), *x.shape[1:]).contiguous().requires_grad_())  # noqa: B023
        at = {n: x.expand(len(own), *x.shape[1:]) for n, x in theta.items()}
        incidence = sim.epidemic(
            s.population, leaves, work._seed(50), streams=own, backend=s.backend, estimator=s.estimator
        )
        each = HostTables(
            *(getattr(hosts, f.name).expand(len(own), *getattr(hosts, f.name).shape[1:]) for f in fields(hosts))
        )
        flat = s.layout.flat(observe(at, each, incidence, s.observation))
        values = [output.value(flat) for output in outputs]
        rows: dict[str, list[Tensor]] = {name: [] for name in (*RATES, "arrival")}
        share = _exposed(work, composition, leaves.susceptibility.detach(), leaves.waning.detach(), incidence.detach())
        for k, value in enumerate(values):
            tensors = [getattr(leaves, name) for name in RATES]
            slopes = torch.autograd.grad(value.sum(), tensors, retain_graph=k + 1 < len(values))
            for name, x, g in zip(RATES, tensors, slopes, strict=True):
                rows[name].append((x * g).detach())
                if name == "importation":
                    by_region = g.unflatten(-1, s.context.setting.sizes).sum(-1)
                    rows["arrival"].append(by_region / share)
        for name, row in rows.items():
            kept[name].append(torch.stack(row, 1).double().cpu().numpy())
        kept["value"].append(torch.stack([v.detach() for v in values], 1).double().cpu().numpy())
        took = time.perf_counter() - began
        fastest = min(fastest, took / len(own))  # the first batch may compile
        work.ledger.add(PURPOSE, len(own), len(own) * len(outputs), 0, took)
        advance(len(own))
    return _dataset({name: np.concatenate(x) for name, x in kept.items()}, outputs, fastest, s.study)


def _composition(work: Work) -> Tensor:
    """`[G, K]` agents by community group and kind."""
    s = work.simulator
    groups, kinds = s.population.groups, s.observation.share.shape[-1]
    cell = s.population.group.astype(np.int64) * kinds + s.population.archetype.astype(np.int64)
    return torch.as_tensor(np.bincount(cell, minlength=groups * kinds).reshape(groups, kinds)).to(s.observation.week)


def _exposed(work: Work, composition: Tensor, susceptibility: Tensor, waning: Tensor, incidence: Tensor) -> Tensor:
    """`[P, T, R]` people that a unit of importation hazard in a region infects: still uninfected, times their susceptibility."""
    size = composition.sum(1)
    mean = (susceptibility[:, None] * by_day(waning.mT, incidence.shape[1])) @ composition.T / size.clamp_min(1.0)
    before = incidence.cumsum(1) - incidence
    left = (size - before).clamp_min(0) * mean
    people = left.unflatten(-1, work.simulator.context.setting.sizes) * work.simulator.observation.people
    return people.sum(-1).clamp_min(1.0)


def _dataset(kept: dict[str, Array], outputs: Sequence[Output], seconds: float, study: Study) -> xr.Dataset:
    axis, other = study.region.axis, f"from_{study.region.axis}"
    bands, regions, states = study.ages.names, study.region.names, doses(study)
    streams = len(kept["value"])

    def pair(name: str, x: Array, dims: tuple[str, ...]) -> dict[str, tuple[tuple[str, ...], Array]]:
        se = x.std(0, ddof=1) / streams**0.5
        return {name: (("output", *dims), x.mean(0)), f"{name}_se": (("output", *dims), se)}

    t = kept["transmission"]
    days = t.shape[-1]
    week = np.arange(days) // 7
    by_week = np.stack([t[..., week == w].sum(-1) for w in range(week.max() + 1)], -1)
    rho = kept["infectiousness"]
    by_age = rho.reshape(*rho.shape[:2], len(bands), len(states), -1)
    m = kept["mixing"].reshape(streams, len(outputs), len(regions), len(bands), len(regions), len(bands))
    imported = kept["importation"].reshape(streams, len(outputs), days, len(regions), len(bands))
    sigma = kept["susceptibility"].reshape(streams, len(outputs), len(bands), len(states))
    arrays = (
        pair("transmission", t, ("venue", "day"))
        | pair("transmission_week", by_week, ("venue", "week"))
        | pair("infectiousness", by_age, ("age", "doses", "since"))
        | pair("infectiousness_age", by_age.sum(3), ("age", "since"))
        | pair("susceptibility", sigma, ("age", "doses"))
        | pair("importation", imported.sum(-1), ("day", axis))
        | pair("importation_entry", imported, ("day", axis, "age"))
        | pair("mixing", m, (axis, "age", other, "from_age"))
        | pair("mixing_region", m.sum((3, 5)), (axis, other))
        | pair("mixing_age", m.sum((2, 4)), ("age", "from_age"))
        | pair("arrival", kept["arrival"], ("day", axis))
        | pair("arrival_week", _weekly_mean(kept["arrival"], week), ("week", axis))
    )
    data = xr.Dataset(
        arrays
        | {"value": ("output", kept["value"].mean(0)), "value_sd": ("output", kept["value"].std(0, ddof=1))},
        coords={
            "output": [o.name for o in outputs], "venue": list(venues(study)), "day": [iso(study, d) for d in range(days)],
            "week": [iso(study, int(w) * 7) for w in range(week.max() + 1)], "age": list(bands), "from_age": list(bands),
            "doses": list(states), "since": np.arange(1, rho.shape[-1] + 1), axis: list(regions), other: list(regions),
        },
    )  # fmt: skip
    inputs = sum(int(np.prod(kept[name].shape[2:])) for name in RATES)
    data.attrs = {"inputs": inputs, "streams": streams, "seconds_per_stream": seconds, "region_axis": axis}
    return data


def _weekly_mean(x: Array, week: NDArray[np.int64]) -> Array:
    """`[stream, output, day, region]` to weeks."""
    return np.stack([x[:, :, week == w].mean(2) for w in range(int(week.max()) + 1)], 2)


def ranked(data: xr.Dataset, output: int, count: int | None = None) -> pd.DataFrame:
    """Single inputs of one output, largest first: `kind, input, elasticity, se, z`."""
    names: dict[str, Callable[..., str]] = {
        "transmission": lambda v, d: f"{v} on {d}",
        "infectiousness": lambda a, n, k: f"age {a}, {n} doses, day {k} of infection",
        "susceptibility": lambda a, n: f"age {a}, {n} doses",
        "importation_entry": lambda d, r, a: f"arrivals in {r}, age {a}, on {d}",
        "mixing": lambda r, a, r2, a2: f"{r} {a} meeting {r2} {a2}",
    }
    frames = []
    for kind, text in names.items():
        x, se = data[kind].isel(output=output), data[f"{kind}_se"].isel(output=output)
        flat, error = x.values.ravel(), se.values.ravel()
        top = np.argsort(-np.abs(flat))[: count or len(flat)]
        where = np.unravel_index(top, x.shape)
        labels = [
            text(*(str(x[d].values[i]) for d, i in zip(x.dims, at, strict=True))) for at in zip(*where, strict=True)
        ]
        frames.append(
            pd.DataFrame(
                {"kind": kind.replace("_entry", ""), "input": labels, "elasticity": flat[top], "se": error[top]}
            )
        )
    table = pd.concat(frames, ignore_index=True)
    order = np.argsort(-table["elasticity"].abs().to_numpy(), kind="stable")
    return table.iloc[order[: count or len(order)]].reset_index(drop=True)


def grouped(data: xr.Dataset, output: int) -> pd.DataFrame:
    """Groups of inputs: by venue and week, age, region: `group, member, elasticity, se`."""
    frames, axis = [], region_axis(data)
    for name, title in (
        ("transmission_week", "transmission by venue and week"),
        ("infectiousness_age", "infectiousness by age and day"),
        ("susceptibility", "susceptibility by age and doses"),
        ("mixing_region", f"mixing by {axis}"),
        ("mixing_age", "mixing of ages"),
        ("importation", f"importation by day and {axis}"),
    ):
        frame = data[[name, f"{name}_se"]].isel(output=output).to_dataframe().reset_index()
        dims = [str(d) for d in data[name].dims if d != "output"]
        member = frame[dims].astype(str).agg(", ".join, axis=1)
        frames.append(
            pd.DataFrame({"group": title, "member": member, "elasticity": frame[name], "se": frame[f"{name}_se"]})
        )
    return pd.concat(frames, ignore_index=True)


assert {f.name for f in fields(sim.Rates)} >= set(RATES)
