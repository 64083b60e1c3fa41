"""Tools on a finished run: their numbers are those of the run's files and commands."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from calib import RunFolder
from epi.analyst import CACHE, TOOLS, Source, Toolbox
from epi.outputs.run_files import RunFiles
from posterity.commands.forecast import as_table


def test_the_forecast_is_that_of_the_command(box, run):
    rows = RunFiles(run).forecast
    table = as_table(rows[rows["target"] == "cases_county"])
    for row in table.itertuples():
        value = box.call("forecast", {"stream": "cases", "place": row.location, "week": row.target_end_date}).values[0]
        assert (value.value, value.low, value.high) == pytest.approx((row.median, row.low_95, row.high_95), abs=1e-6)


def test_derived_quantities_are_those_of_the_table(box, run):
    table = RunFiles(run).derived
    rates = table[(table["quantity"] == "attack rate") & (table["by"] == "county")]
    for row in rates.itertuples():
        value = box.call("derived", {"quantity": "attack rate", "place": row.place}).values[0]
        assert (value.value, value.low, value.high) == pytest.approx((row.median, row.q025, row.q975))
        assert value.draws == row.draws
        assert value.unit == "%"


def test_observed_numbers_are_exact_and_without_interval(box, run):
    counts = RunFiles(run).observed("cases_county")
    found = box.call("observed", {"stream": "cases_county", "place": "South", "week": "2030-04-01"})
    assert found.values[0].value == counts[3, 1]
    assert found.values[0].low is None
    assert box.call("observed", {"stream": "cases"}).values[0].value == counts.sum()
    peak = box.call("observed", {"stream": "cases", "place": "North", "statistic": "peak"})
    assert peak.values[0].value == counts[:, 0].max()
    assert RunFiles(run).weeks[int(counts[:, 0].argmax())] in peak.values[1].date


def test_every_number_says_where_it_stands_and_the_checksum_is_the_files(box, run):
    calls = [
        ("summary", {}), ("posterior", {"parameter": "seed_level"}), ("forecast", {"stream": "cases"}), ("derived", {"quantity": "Rt"}),
        ("scores", {"stream": "admissions"}), ("sensitivity", {"output": "cases"}), ("streams", {}), ("observed", {"stream": "admissions"}),
        ("scenario", {"output": "cases", "factor": 0.5}), ("reproduction", {}), ("verdicts", {}),
    ]  # fmt: skip
    for tool, arguments in calls:
        result = box.call(tool, arguments)
        assert not result.refused, result.text
        assert result.values, tool
        for value in result.values:
            digest = hashlib.sha256((run / value.origin.file).read_bytes()).hexdigest()
            assert value.origin.sha256 == digest
            assert (value.low is None) == (value.high is None)
            if value.draws and not value.date:
                assert value.low <= value.value <= value.high
        json.dumps(result.to_dict(), allow_nan=False)


def test_a_scenario_is_simulated_once_and_kept_under_the_run(box, run):
    arguments = {"output": "cases", "r0": 2.5, "place": "North"}
    first, second = box.call("scenario", arguments), box.call("scenario", arguments)
    assert first.values == second.values
    assert second.cached
    other = box.call("scenario", {**arguments, "output": "infections", "statistic": "peak week"})
    assert other.cached  # another output of the same worlds
    changed, usual, difference, share = first.values
    assert changed.value > usual.value
    assert share.value == pytest.approx(100 * difference.value / usual.value, rel=0.8)
    assert (run / CACHE).is_dir()


def test_r0_of_the_run_is_that_of_the_model(box, run):
    from epi.model import reproduction_number
    from epi.outputs.reload import rebuild

    fitted = rebuild(run)
    at = np.linspace(0, fitted.draws - 1, 4).round().astype(int)
    expected = reproduction_number(fitted.simulator, {n: x[at] for n, x in fitted.theta.items()}).numpy()
    value = box.call("reproduction", {}).values[0]
    assert value.value == pytest.approx(np.median(expected))


@pytest.mark.slow
def test_a_process_of_its_own_gives_the_same_and_tells_its_progress(box, run):
    told = []
    apart = Toolbox(Source(run, seconds=300.0, draws=3, progress=lambda done, total: told.append((done, total))))
    here = Toolbox(Source(run, draws=3, apart=False))
    arguments = {"output": "admissions", "factor": 0.3, "layers": ["work"]}
    found = apart.call("scenario", arguments)
    assert not found.refused, found.text
    assert told[-1] == (6, 6)
    for file in (run / CACHE).glob("change-*.nc"):
        file.unlink()
    second = here.call("scenario", arguments)
    assert not second.cached
    assert [v.value for v in second.values] == [v.value for v in found.values]


def test_a_simulation_ends_at_its_limit_of_seconds(run):
    slow = Toolbox(Source(run, seconds=0.2, draws=3))
    found = slow.call("scenario", {"output": "cases", "factor": 0.123})
    assert found.refused
    assert "0.2 seconds" in found.text
    assert found.seconds < 20


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("forecast", {"stream": "deaths"}, "no data on 'deaths'"),
        ("forecast", {"stream": "cases", "place": "Springfield"}, "no cases at 'Springfield'"),
        ("forecast", {"stream": "cases", "place": "60+"}, "no cases at '60+'"),
        ("forecast", {"stream": "cases", "week": "2031-03-01"}, "says nothing about 2031-03-01"),
        ("forecast", {"stream": "cases", "week": "soon"}, "is no date"),
        ("derived", {"quantity": "income"}, "no quantity 'income'"),
        ("derived", {"quantity": "Rt", "statistic": "total"}, "cannot be added up"),
        ("posterior", {"parameter": "transmision_home"}, "did you mean"),
        ("scenario", {"output": "cases"}, "names no R0"),
        ("scenario", {"output": "cases", "r0": -1}, "'r0'"),
        ("scenario", {"output": "cases", "r0": float("nan")}, "'r0'"),
        ("scenario", {"output": "cases", "factor": 0, "layers": ["pub"]}, "no layer 'pub'"),
        ("scenario", {"output": "cases", "factor": 0, "first": "2030-13-01"}, "expected year-month-day"),
        ("scenario", {"output": "cases", "parameter": "ascertainment_tests", "value": 3}, "outside its range"),
        ("scenario", {"output": "cases", "name": "masks"}, "no scenarios"),
        ("allocate", {"budget": 1, "first": "2030-04-01", "last": "2030-04-20", "until": "2030-05-25"}, "measures"),
        ("figure", {"name": "../manifest"}, "no figure"),
        ("nothing", {}, "no tool 'nothing'"),
        ("summary", {"path": "/etc/passwd"}, "'path'"),
        ("forecast", {"stream": 3}, "'stream'"),
        ("cannot", {"reason": "no incomes"}, "no incomes"),
    ],
)
def test_what_the_run_does_not_hold_is_a_sentence(box, tool, arguments, said):
    found = box.call(tool, arguments)
    assert found.refused
    assert not found.values
    assert said in found.text


def test_every_tool_has_a_description_and_a_schema_that_forbids_other_arguments():
    assert 12 <= len(TOOLS) <= 16
    for tool in TOOLS.values():
        assert len(tool.description) > 10
        assert tool.schema["additionalProperties"] is False


def test_a_ranking_without_a_share_is_refused(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    table = pd.read_csv(folder / "sensitivity.csv")
    table.loc[table.measure == "derivative_share", ["index", "low", "high"]] = float("nan")
    table.to_csv(folder / "sensitivity.csv", index=False)
    RunFolder.open(folder).seal()
    result = Toolbox(Source(folder, draws=4, apart=False)).call("sensitivity", {"output": "cases"})
    assert not result.values
    assert "no draw has a derivative other than zero" in result.text
