"""The reference ranking, the methods of others, and how they agree with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from calib import sobol_indices
from epi.errors import StudyError
from epi.sensitivity import compare, reference
from epi.sensitivity import global_sobol as level_three
from epi.sensitivity import local as level_one
from epi.sensitivity import reference_designs as baselines
from epi.sensitivity import saved as kept
from epi.sensitivity.known_functions import all_functions
from epi.sensitivity.outputs import Array
from epi.sensitivity.steps import NUMBER, SURVIVORS, Analysis, index_table

FILE = "reference.nc"


def reference_of(a: Analysis) -> reference.Reference:
    """The runs of the reference ranking: those of the file that was named, or made now."""
    c, work = a.config, a.work
    if c.reference_file is not None:
        with a.run.phase("reference"):
            return reference.believed(Path(c.reference_file), work, a.outputs)
    columns = reference.columns_of(work.simulator.space.names)
    columns = columns if c.elements else columns.of_sites()
    runs = c.reference * (len(columns.members) + 2) * reference.REPLICATES
    device = str(a.run.manifest["device"])
    made: reference.Reference = a.progress(
        "reference",
        runs,
        lambda go: reference.make_reference(work, columns, a.outputs, c.reference, a.run.file(FILE), device, go),
    )
    return made


def against_others(a: Analysis, prior: level_three.Global | None, timings: Path | None) -> None:
    """The reference ranking, the baselines, and how they agree.

    Args:
        a: the analysis.
        prior: level 3 over the prior, if it was made.
        timings: of `experiments.benchmark_simulator` on a GPU, from which costs for the whole country are projected; None for no projection.

    Raises:
        StudyError: a reference made earlier cannot be used.
    """
    c, work = a.config, a.work
    found = reference_of(a)
    columns = found.columns.of_sites()
    rng = np.random.default_rng([c.seed, 5])
    indices = {o.name: found.indices(o, rng) for o in a.outputs if o.name in found.outputs}
    a.table(
        "reference.csv",
        pd.concat([index_table(indices[o.name], list(found.columns.names), o) for o in a.outputs if o.name in indices]),
    )
    if not any(o.name in indices for o in a.outputs[:NUMBER]):
        raise StudyError(
            f"The reference holds {', '.join(found.outputs)}, and none of {', '.join(o.name for o in a.outputs[:NUMBER])}; "
            "make one of these outputs with --levels reference, or leave --reference-file out."
        )
    lead = a.outputs[0]

    def evaluate(z: Array, replicate: int, streams: np.ndarray) -> Array:
        return work.values(z, BASELINES, replicate, streams=streams, outputs=[lead])[:, 0]

    sizes = {key: getattr(c, key) for key in ("morris", "sobol", "dgsm", "once", "sbi")}
    with a.run.phase("baselines"):
        others, missing = baselines.run_all(
            evaluate,
            work.dim,
            sizes,
            c.seed,
            lambda name: a.console.print(f"baseline: {name}", highlight=False),
            kept.Answers(
                a.run.file("baselines.json"), f"{reference.problem_of(work)} seed {c.seed} {sizes} of {lead.name}"
            ),
        )
    a.keep_ledger()
    rows = []
    gradient, seconds = _gradient_seconds(a), _run_seconds(a, found)
    runs = len(found.values) * (2 + columns.sites) * reference.REPLICATES
    for k, output in enumerate(o for o in a.outputs[:NUMBER] if o.name in indices):
        mine = _ours(a, prior, a.outputs.index(output), gradient)
        answers = mine + (list(others) if output is lead else [])
        sites = sobol_indices(found.of(output)[:, : 2 + columns.sites], rng)
        table = compare.comparison(answers, sites, columns, runs, runs * seconds)
        rows.append(table.assign(output=output.name))
        a.facts.setdefault("reliability", {})[output.name] = reference.reliability(found, output, rng)
        if prior is not None:
            r = prior.results[a.outputs.index(output)]
            a.facts.setdefault("by_draws", {})[output.name] = compare.by_draws(r, prior.calibrated, sites, columns)
        if found.columns.sites < len(found.columns.names):
            a.facts.setdefault("single", {})[output.name] = compare.singly(mine[0], indices[output.name], found.columns)
        if k == 0 and timings is not None:
            full, a.facts["full_scale"] = full_size(timings)
            here = (seconds, gradient or float("nan"))
            a.table("projected.csv", compare.projected(answers, runs, columns.sites, work.dim, here, full))
    a.table("comparison.csv", pd.concat(rows))
    a.table("functions.csv", compare.on_functions(all_functions(), 100 if c.smoke else 1000, c.seed))
    first = indices[rows[0]["output"].iloc[0]]
    a.facts["compare"] = {
        "missing": missing, "seconds_per_run": seconds, "seconds_per_gradient": gradient,
        "reference_rows": len(found.values), "reference_runs": runs, "reference_device": found.device,
        "reference_all_runs": found.runs, "failed": first.failed, "sd": first.variance**0.5,
    }  # fmt: skip


def full_size(file: Path) -> tuple[tuple[float, float], str]:
    """Measured seconds of a run, and of a run with its reverse pass, of the whole country on a GPU; and where they come from."""
    found = json.loads(file.read_text(encoding="utf-8"))
    row = next(r for r in found["rows"] if r["agents"] == 5_100_000 and r["particles"] == 1)
    run, back = float(row["forward_seconds"]), float(row["reverse_seconds"])
    text = (
        f"those of 5.1 million agents on one {found['machine']['hardware']} ({run:.3f} s a run, {run + back:.3f} s with its reverse pass; "
        "docs/benchmarks/performance.md)"
    )
    return (run, run + back), text


BASELINES = "baselines"


def _run_seconds(a: Analysis, found: reference.Reference) -> float:
    """Seconds of a run on this machine; those of the reference if nothing else was run here."""
    ledger = a.work.ledger
    known = [ledger.per_run(p) for p in (BASELINES, SURVIVORS, reference.PURPOSE) if ledger.runs.get(p)]
    return known[0] if known else found.seconds_per_run


def _gradient_seconds(a: Analysis) -> float | None:
    """Seconds of one run with one reverse pass, from the runs of level 3 (which make several passes a run)."""
    ledger = a.work.ledger
    known = [ledger.per_run(p) for p in (level_three.PRIOR, level_three.POSTERIOR) if ledger.runs.get(p)]
    return min(known) / len(a.outputs[:NUMBER]) if known else None


def _ours(a: Analysis, prior: level_three.Global | None, k: int, gradient: float | None) -> list[baselines.Answer]:
    mine = []
    if prior is not None:
        r = prior.results[k]
        runs = a.work.ledger.runs[level_three.PRIOR]
        seconds = runs * (gradient or 0.0)
        for name, index in (("share", r.share), ("upper bound", r.bound)):
            mine.append(
                baselines.Answer(
                    f"{compare.OURS}: {name}",
                    index.value[: prior.calibrated],
                    runs,
                    runs,
                    seconds,
                    f"ranks {len(r.names):,} inputs",
                )
            )
    levels = level_one.zero_shot(a.jacobian, [a.outputs[k]], np.random.default_rng(0), 20)
    share = levels[0].measures["prior_share"].value
    mine.append(
        baselines.Answer("kept Jacobians, no simulation", share, 0, 0, 0.0, "linearised at the posterior", "one point")
    )
    return mine
