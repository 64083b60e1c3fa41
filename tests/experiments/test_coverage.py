"""The coverage benchmark: what it makes of ranks, and one real epidemic through worker and report."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from matplotlib.figure import Figure
from scipy.stats import binomtest
from typer.testing import CliRunner

from experiments.coverage.__main__ import OPTIONS, main
from experiments.coverage._collect import collect, group_of, groups, judge, overall, wilson
from experiments.coverage._draw import draw_groups
from experiments.coverage._epidemic import Settings, kept_file, run_epidemic
from tests.experiments.conftest import TINY

APP = typer.Typer()
APP.command()(main)
NAMES = ("viral_growth", "aversion", *(f"district_effect[{i}]" for i in range(10)))
DRAWS = 60


def leave(folder: Path, sd: float, count: int = 60, failed: int = 0) -> Path:
    """Epidemics as workers leave them: truths N(0, 1), posteriors N(truth + noise, (spread * 0.5)^2) with noise sd 0.5."""
    rng = np.random.default_rng(5)
    (folder / "epidemics").mkdir(parents=True)
    for seed in range(count + failed):
        shared = 1.2 * rng.standard_normal()  # parameters of one epidemic hang together
        noise = 0.32 * (shared + rng.standard_normal(len(NAMES)))
        draws = noise[:, None] + sd * 0.5 * rng.standard_normal((len(NAMES), DRAWS))
        rows = [
            {
                "name": n,
                "truth": 0.0,
                "low": float(np.quantile(d, 0.05)),
                "high": float(np.quantile(d, 0.95)),
                "rank": float((d < 0).mean()),
            }
            for n, d in zip(NAMES, draws, strict=True)
        ]
        inside = float(np.clip(0.95 * sd**0.2 + 0.03 * rng.standard_normal(), 0, 1))
        scores = {"coverage_50": 0.5, "coverage_95": inside, "relative_wis": 0.6}
        kept = {"seed": seed, "seconds": 1.0, "draws": DRAWS, "parameters": rows, "k_hat": None if seed == 0 else 0.4}
        kept |= {"fit": {"steps": 90, "stopped_because": "converged"}, "forecast": {"cases_district": {"1-4": scores}}}
        kept |= {"sampler": {"r_hat": 1.02, "effective": 900.0, "divergent": 0}, "followed": 1, "residual_ratio": 0.8}
        kept |= {"seconds_by_phase": {"draws": 2.5, "forecast": 0.25}}
        if seed >= count:
            kept = {"seed": seed, "seconds": 1.0, "failed": "not finished after 40 minutes"}
        (folder / "epidemics" / f"{seed:04d}.json").write_text(json.dumps(kept))
    (folder / "settings.json").write_text(json.dumps(Settings(options=tuple(OPTIONS.split())).identity()))
    return folder


def test_groups_of_parameters():
    assert group_of("aversion") == "single parameters"
    assert group_of("district_effect[Hawke's Bay]") == "district_effect"


def test_an_honest_calibration_passes(tmp_path):
    found = collect(leave(tmp_path / "c", 1.0))
    page, sbc = judge(found)
    assert page.word in ("pass", "warn")  # sbc warns of fewer than 100 epidemics
    assert page["coverage of district_effect"].word == "pass"
    assert sbc is not None
    assert sbc.names == ("viral_growth", "aversion")
    table = groups(found).set_index("group")
    assert table.loc["all", "coverage_90"] == pytest.approx(0.9, abs=3 * table.loc["all", "error_90"])
    assert list(table["parameters"]) == [2, 10, 12]
    assert isinstance(draw_groups(groups(found)), Figure)


def test_an_over_confident_calibration_fails(tmp_path):
    page, _ = judge(collect(leave(tmp_path / "c", 0.5)))
    assert (
        page["sbc"].word
        == page["coverage of district_effect"].word
        == page["forecast of cases_district"].word
        == "fail"
    )


def test_intervals_that_are_too_wide_only_warn(tmp_path):
    page, _ = judge(collect(leave(tmp_path / "c", 2.5)))
    assert page["coverage of district_effect"].word == "warn"


def test_errors_are_taken_between_epidemics(tmp_path):
    """Ten parameters that hang together are not ten times the evidence."""
    table = groups(collect(leave(tmp_path / "c", 1.0, count=100))).set_index("group")
    alone = (0.5 * 0.5 / (10 * 100)) ** 0.5
    assert table.loc["district_effect", "error_50"] > 1.3 * alone


def test_binomial_intervals_count_what_is_independent():
    """Independent parameters: Wilson's interval of all of them; parameters that stand and fall together: of the epidemics."""
    rng = np.random.default_rng(0)
    alone = (rng.random((200, 10)) < 0.9).mean(1)
    low, high = wilson(alone, 10)
    exact = binomtest(round(alone.sum() * 10), 2000).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.006)
    together = np.repeat([1.0, 0.0], [90, 10])
    exact = binomtest(90, 100).proportion_ci(method="wilson")
    assert wilson(together, 10) == pytest.approx((exact.low, exact.high), abs=2e-3)
    assert wilson(np.ones(50), 10)[0] == pytest.approx(binomtest(50, 50).proportion_ci(method="wilson").low)


def test_failed_epidemics_are_counted_and_not_retried_unasked(tmp_path):
    folder = leave(tmp_path / "c", 1.0, count=12, failed=2)
    kept = tmp_path / "kept"
    result = CliRunner().invoke(APP, ["--epidemics", "14", "--output", str(folder), "--kept", str(kept)])
    assert result.exit_code == 0, result.stderr
    assert "12 of 14 epidemics were calibrated" in result.stdout
    summary = json.loads((kept / "summary.json").read_text())
    assert summary["failed"] == {"12": "not finished after 40 minutes", "13": "not finished after 40 minutes"}
    assert summary["groups"] == json.loads(json.dumps(overall(collect(folder))["groups"]))
    assert len(pd.read_csv(kept / "ranks.csv")) == 12 * len(NAMES)
    assert (kept / "groups.png").exists()
    assert summary["k_hat"] == {"least": 0.4, "median": 0.4, "largest": 0.4}
    assert summary["stopped_because"] == {"converged": 12}
    assert summary["r_hat"] == {"least": 1.02, "median": 1.02, "largest": 1.02}
    assert summary["seconds"]["median"] == 2.75, "of all phases, also of those before it was resumed"
    other = CliRunner().invoke(APP, ["--epidemics", "14", "--scale", "0.5", "--output", str(folder)])
    assert other.exit_code == 2
    assert "name another folder" in other.stderr


def test_nothing_finished_is_said(tmp_path):
    folder = leave(tmp_path / "c", 1.0, count=0, failed=1)
    result = CliRunner().invoke(APP, ["--epidemics", "1", "--output", str(folder)])
    assert result.exit_code == 2
    assert "no finished epidemic (1 failed)" in result.stderr


def test_a_worker_that_is_told_to_stop_leaves_its_epidemic_to_the_next_time(tmp_path):
    stop = threading.Event()
    stop.set()
    began = time.monotonic()
    found = run_epidemic(tmp_path, 3, Settings(), stop)
    assert found["failed"] == "stopped"
    assert time.monotonic() - began < 30
    assert not kept_file(tmp_path, 3).exists()


@pytest.mark.slow
def test_real_epidemics_through_workers(tmp_path):
    settings = " ".join(x for x in TINY if x not in ("--scale", "0.002", "--draws", "10"))
    arguments = ["--epidemics", "2", "--scale", "0.002", "--draws", "10", "--workers", "2", "--options", settings]
    folder = tmp_path / "c"
    result = CliRunner().invoke(APP, [*arguments, "--output", str(folder)])
    assert result.exit_code == 0, result.stderr
    found = collect(folder)
    assert not found.failed
    assert len(found.ranks) == 2
    assert not list((folder / "runs").iterdir())
    second = CliRunner().invoke(APP, [*arguments, "--output", str(folder)])  # nothing is done twice
    assert "epidemic 0" not in second.stderr
    late = CliRunner().invoke(
        APP, [*arguments, "--first", "7", "--minutes", "0.02", "--output", str(tmp_path / "late")]
    )
    assert late.exit_code == 2  # both stopped by their limit
    assert "no finished epidemic (2 failed)" in late.stderr
