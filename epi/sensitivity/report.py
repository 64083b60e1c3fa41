"""One self-contained page, made from the files of the report's folder alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import xarray as xr

from calib import RunFolder
from calib.plotting import number
from calib.storage import atomic_write_text
from epi.errors import StudyError
from epi.outputs.run_files import RunFiles
from epi.reporting.sentences import about, duration, percent
from epi.sensitivity import sentences as phrases
from epi.sensitivity.plots import PLOTS, draw_all
from epi.study.printed_names import plain_label as label

REPORT = "report.html"


def write_report(folder: Path) -> Path:
    """Draw the plots and write the page.

    Raises:
        RunFolderError: the folder holds no report.
        StudyError: the calibration it came from is gone.
    """
    names = draw_all(folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(**content(folder, names))
    path = folder / REPORT
    atomic_write_text(path, page)
    return path


def content(folder: Path, names: list[str]) -> dict[str, Any]:
    """Everything the template prints."""
    manifest = RunFolder.open(folder).manifest
    file = folder / "summary.json"
    if not file.is_file():
        raise StudyError(f"There is no {file}; run the report to its end first.")
    facts = json.loads(file.read_text(encoding="utf-8"))
    source = RunFiles(Path(manifest["configuration"]["source"]))

    def table(name: str) -> pd.DataFrame | None:
        return pd.read_csv(folder / name) if (folder / name).is_file() else None

    first, wide, versus, checked = (table(f"{n}.csv") for n in ("level1", "global", "comparison", "check"))
    survivors, cost, functions = (table(f"{n}.csv") for n in ("survivors", "projected", "functions"))
    top = table("every_input_top.csv")
    data = None
    if (folder / "every_input.nc").is_file():
        with xr.open_dataset(folder / "every_input.nc", engine="h5netcdf") as opened:
            data = opened.load()
    distributions = facts.get("level3", [])
    fixing = [phrases.fixing_sentence(row) for row in distributions if row["distribution"] == "prior"]
    one = phrases.zero_shot_sentences(first, facts["level1"]) if first is not None else []
    two = phrases.every_input_sentences(data) if data is not None else []
    against = phrases.comparison_sentences(versus, facts) if versus is not None else []
    check = phrases.check_sentence(checked) if checked is not None else []
    return {
        "manifest": manifest,
        "facts": facts,
        "image": {n: _image(folder / PLOTS / f"{n}.png") for n in names},
        "short": one[:1] + two[:1] + fixing[:1] + against[:1] + check[:1] + one[-1:],
        "one": one,
        "two": two,
        "three": phrases.global_sentences(distributions, wide) if wide is not None else [],
        "fixing": fixing,
        "against": against,
        "check": check,
        "level1_rows": _level1_rows(first),
        "top_rows": _top_rows(top),
        "group_rows": _group_rows(wide),
        "survivor_rows": _survivor_rows(survivors),
        "comparison_rows": _comparison_rows(versus),
        "cost_rows": _cost_rows(cost),
        "function_rows": _function_rows(functions),
        "check_rows": _check_rows(checked),
        "inputs": _input_rows(source),
        "runs": _run_rows(manifest),
        "timings": [(k, duration(v)) for k, v in manifest["timings"].items()],
        "wall": duration(sum(manifest["timings"].values())),
        "configuration": [(k.replace("_", " "), _shown(v)) for k, v in manifest["configuration"].items()],
        "title": source.study.title,
        "axis": source.study.region.axis,
        "region_words": source.study.region.plural_name,
        "source": str(source.folder),
        "source_started": source.manifest["started"][:16].replace("T", " "),
    }


def _image(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else "–" if value is None else str(value)


def _interval(value: float, low: float, high: float, digits: int = 3) -> str:
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})".replace("-", "−")


def _level1_rows(table: pd.DataFrame | None, count: int = 10) -> dict[str, list[tuple[str, ...]]]:
    out: dict[str, list[tuple[str, ...]]] = {}
    if table is None:
        return out
    for output in table["output"].unique():
        rows = table[(table["output"] == output) & (table["level"] == "parameter")]
        by = {
            m: rows[rows["measure"] == m].set_index("parameter")
            for m in ("prior_share", "posterior_share", "prior_swing")
        }
        names = by["prior_share"].sort_values("rank").index[:count]
        out[output] = [
            (
                label(str(n)),
                *(_interval(*by[m].loc[n, ["index", "low", "high"]]) for m in ("prior_share", "posterior_share")),
                percent(float(by["prior_share"].loc[n, "top_five"])),
                f"{about(by['prior_swing'].loc[n, 'index'])} {rows['unit'].iloc[0]}",
            )
            for n in names
        ]
    return out


def _top_rows(table: pd.DataFrame | None, count: int = 15) -> dict[str, list[tuple[str, ...]]]:
    if table is None:
        return {}
    return {
        output: [
            (r.input, r.kind, number(r.elasticity), number(1.96 * r.se), f"{abs(r.elasticity) / max(r.se, 1e-300):.1f}")
            for r in table[table["output"] == output].head(count).itertuples()
        ]
        for output in table["output"].unique()
    }


def _group_rows(table: pd.DataFrame | None, count: int = 14) -> dict[str, list[tuple[str, ...]]]:
    if table is None:
        return {}
    out: dict[str, list[tuple[str, ...]]] = {}
    for (distribution, output), part in table[table["level"] == "group"].groupby(
        ["distribution", "output"], sort=False
    ):
        rows = part.sort_values("share", ascending=False).head(count)
        out[f"{output}, over the {'priors' if distribution == 'prior' else 'posterior'}"] = [
            (
                label(str(r.input)),
                _interval(r.share, r.share_low, r.share_high),
                _interval(r.total_bound, r.bound_low, r.bound_high) if distribution == "prior" else "–",
                percent(r.top_five),
            )
            for r in rows.itertuples()
        ]
    return out


def _survivor_rows(table: pd.DataFrame | None) -> list[tuple[str, ...]]:
    if table is None:
        return []
    return [
        (
            label(str(r.input)),
            _interval(r.total, r.total_low, r.total_high),
            _interval(r.first, r.first_low, r.first_high),
            str(int(r.rows)),
        )
        for r in table.sort_values("rank").itertuples()
    ]


def _comparison_rows(table: pd.DataFrame | None) -> dict[str, list[tuple[str, ...]]]:
    if table is None:
        return {}

    def cell(value: float, digits: int = 2) -> str:
        return "–" if not np.isfinite(value) else f"{value:.{digits}f}"

    return {
        output: [
            (
                r.method, f"{int(r.runs):,}", duration(r.seconds) if r.runs else "0 s", r.distribution,
                cell(r.rank_correlation), cell(r.rank_correlation_felt),
                f"{int(r.top_five)}", f"{int(r.top_ten)}", "" if pd.isna(r.note) else str(r.note),
            )
            for r in table[table["output"] == output].itertuples()
        ]
        for output in table["output"].unique()
    }  # fmt: skip


def _cost_rows(table: pd.DataFrame | None) -> list[tuple[str, ...]]:
    if table is None:
        return []
    return [
        (r.method, f"{r.runs:,.0f}", _hours(r.hours), _hours(r.full_hours))
        for r in table.itertuples()
    ]  # fmt: skip


def _hours(hours: float) -> str:
    if not np.isfinite(hours):
        return "–"
    return f"{hours / 24:,.0f} days" if hours > 72 else f"{hours:.1f} h" if hours >= 1 else duration(hours * 3600)


def _function_rows(table: pd.DataFrame | None) -> list[tuple[str, ...]]:
    if table is None:
        return []
    return [
        (
            r.function, r.method, r.measure, f"{int(r.runs):,}", "–" if not np.isfinite(r.largest_error) else f"{r.largest_error:.3f}",
            f"{r.rank_correlation:.2f}", f"{int(r.below_total)} below the total index: no bound" if r.below_total else "",
        )
        for r in table.itertuples()
    ]  # fmt: skip


def _check_rows(table: pd.DataFrame | None) -> dict[str, list[tuple[str, ...]]]:
    if table is None:
        return {}
    return {
        str(kind): [
            (label(str(r.input)), _plus(r.gradient, r.gradient_se), _plus(r.difference, r.difference_se), r.sentence)
            for r in table[table["kind"] == kind].itertuples()
        ]
        for kind in table["kind"].unique()
    }  # fmt: skip


def _plus(value: float, se: float) -> str:
    return f"{number(value)} ± {number(1.96 * se)}"


def _input_rows(source: RunFiles) -> list[tuple[str, ...]]:
    out: list[tuple[str, ...]] = []
    for entry in source.manifest.get("parameters", []):
        low, middle, high = (number(entry[f"prior_{k}"]) for k in ("low", "median", "high"))
        out.append(
            (label(entry["name"]), entry["unit"], f"{entry['family']}, {middle} ({low} to {high})", entry["reason"])
        )
    return out


def _run_rows(manifest: dict[str, Any]) -> list[tuple[str, ...]]:
    runs = manifest.get("simulations", {})
    passes, failed, seconds = (manifest.get(k, {}) for k in ("reverse_passes", "failed_runs", "seconds"))
    return [
        (k, f"{n:,}", f"{passes.get(k, 0):,}", f"{failed.get(k, 0):,}", f"{seconds.get(k, 0) / max(n, 1):.3f}")
        for k, n in runs.items()
    ]
