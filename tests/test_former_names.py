"""Names of earlier versions: files are read, options replaced, arguments refused, each with the current name."""

import json
import runpy
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from calib._former_names import refuse_former_method, report_of_now
from epi.outputs.former_names import dataset_of_now, existing, manifest_of_now, table_of_now
from posterity.commands.former_options import options_of_now


def test_a_manifest_of_before():
    old = {"configuration": {"signals": ["cases"], "figures": None, "seed": 3}, "fit": {"stopped_because": "settled"}}
    new = manifest_of_now(json.loads(json.dumps(old)))
    assert new["configuration"] == {"streams": ["cases"], "data": None, "seed": 3}
    assert new["fit"]["stopped_because"] == "converged"
    assert manifest_of_now(new) == new


def test_a_dataset_and_a_table_of_before(tmp_path):
    old = xr.Dataset(
        {"seen_cases": ("week", np.ones(2, bool))}, {"output_signal": ("output", ["cases"]), "week": [1, 2]}
    )
    new = dataset_of_now(old)
    assert set(new.variables) == {"in_likelihood_cases", "output_stream", "week"}
    assert dataset_of_now(new) is new
    table = table_of_now(pd.DataFrame({"signal": ["cases"], "law": ["prior"], "value": [1.0]}))
    assert list(table.columns) == ["stream", "distribution", "value"]
    assert existing(tmp_path, "stream_information.csv") == tmp_path / "stream_information.csv"
    (tmp_path / "signals.csv").write_text("option\n")
    assert existing(tmp_path, "stream_information.csv") == tmp_path / "signals.csv"


def test_options_of_before(capsys):
    given = ["run", "--signals", "cases", "--figures=here", "--rival", "none", "--seed", "1"]
    assert options_of_now(given) == ["run", "--streams", "cases", "--data=here", "--competitor", "none", "--seed", "1"]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "--signals is now called --streams; use that name."
    assert len(told) == 3


def test_methods_of_before():
    with pytest.raises(ValueError, match="method='climb' is now called 'linearised-vi'"):
        refuse_former_method("climb")
    refuse_former_method("vi")
    assert report_of_now({"method": "climb + weights", "stopped_because": "settled", "n": 2}) == {
        "method": "linearised-vi + weights", "stopped_because": "converged", "n": 2,
    }  # fmt: skip


@pytest.mark.parametrize("module", ["experiments.rivals", "experiments.nz_calibration.signals"])
def test_modules_of_before(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert "is now called experiments." in capsys.readouterr().err
