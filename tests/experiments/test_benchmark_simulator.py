"""The benchmark runs and writes what it says; nothing here looks at a time."""

import json
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.benchmark_simulator.__main__ import main
from experiments.benchmark_simulator._peers import peers
from experiments.benchmark_simulator._world import make_population, make_rates, tiled


def test_writes_a_table_and_what_it_was_measured_with(tmp_path, capsys):
    assert (
        main(["--device", "cpu", "--agents", "3000x2", "--days", "12", "--repeats", "1", "--output", str(tmp_path)])
        == 0
    )
    (row,) = pd.read_csv(tmp_path / "table.csv").to_dict("records")
    assert (row["particles"], row["days"]) == (2, 12)
    assert row["agents"] >= 3000
    assert row["repeats_bit_for_bit"]
    assert row["agent_steps_per_core_second"] > 0
    document = json.loads((tmp_path / "benchmark.json").read_text())
    assert document["machine"]["versions"]["torch"] == torch.__version__
    assert document["copy_bytes_per_second"] > 0
    assert "copy bandwidth" in capsys.readouterr().out


def test_copies_share_groups_and_no_household_or_venue():
    population, copies = make_population(3000, 0)
    assert copies == 1
    twice = tiled(population, 2)
    assert (twice.agents, twice.households) == (2 * population.agents, 2 * population.households)
    assert np.array_equal(twice.group_size, 2 * population.group_size)
    for first, ids in zip(population.venues, twice.venues, strict=True):
        a, b = ids[: population.agents], ids[population.agents :]
        assert np.array_equal(a, first)
        assert not set(a[a >= 0]) & set(b[b >= 0])
    for immunity in (False, True):
        make_rates(twice, 2, 30, torch.device("cpu"), torch.float64, immunity).check(twice)


def test_peers_are_measured_or_said_to_be_missing():
    rows = peers(1_000, 5, 0)
    assert [row["peer"] for row in rows] == ["covasim", "starsim"]
    for row in rows:
        if find_spec(row["peer"]) is None:
            assert "pip install" in row["missing"]
        else:
            assert row["infections_per_agent"] > 0
            assert row["computes"]


@pytest.mark.parametrize("arguments", [["--agents", "0"], ["--peers", "-1"], ["--days", "0"], ["--agents", "5000x0"]])
def test_sizes_below_one_are_refused(arguments, capsys):
    assert main(["--device", "cpu", *arguments]) == 2
    assert "positive" in capsys.readouterr().err
