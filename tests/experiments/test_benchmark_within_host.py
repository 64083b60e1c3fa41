"""The benchmark of the within-host model compared with an epidemic."""

import json

import pytest
import torch
import typer

from experiments.benchmark_within_host.__main__ import main


def test_a_small_run_writes_shares_and_operations(tmp_path, capsys):
    main(scale=[0.001], particles=1, repeats=1, device="cpu", output=tmp_path)
    document = json.loads((tmp_path / "benchmark.json").read_text())
    assert document["machine"]["versions"]["torch"] == torch.__version__
    assert [row["direction"] for row in document["rows"]] == ["forward", "forward and reverse"]
    forward, both = document["rows"]
    assert {forward["solver"], both["solver"]} == {"plain"}
    for row in (forward, both):
        assert row["share_percent"] == pytest.approx(100 * row["hosts_ms"] / row["epidemic_ms"])
    # four evaluations a step of seven operations and more, 112 steps
    assert 112 * 4 * 7 < forward["operations"] < both["operations"]
    assert "share" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"), [({"device": "tpu"}, "choose cpu"), ({"repeats": 0}, "at least 1"), ({"scale": [7.0]}, "7")]
)
def test_what_cannot_be_measured_is_refused(tmp_path, capsys, given, said):
    options = {"scale": [0.001], "particles": 1, "repeats": 1, "device": "cpu", "output": tmp_path} | given
    with pytest.raises(typer.Exit) as stopped:
        main(**options)
    assert stopped.value.exit_code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
