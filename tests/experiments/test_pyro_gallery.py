"""The Pyro models of the calibration gallery against their known posteriors."""

import pytest
import torch

from experiments.calibration_gallery._pyro_models import PROBLEMS
from experiments.calibration_gallery._pyro_table import Row, compare

BY_NAME = {problem.name: problem for problem in PROBLEMS}
RIGHT = ("kidiq", "gaussian_process")
"""Those that may not be called poor."""


@pytest.mark.parametrize("problem", PROBLEMS, ids=BY_NAME)
def test_tables_and_references_are_whole(problem):
    torch.set_default_dtype(torch.float32)
    data, (names, mean, sd) = problem.data(), problem.reference()
    assert len({len(column) for column in data.values()}) == 1
    assert len(names) == len(mean) == len(sd) > 0
    assert all(column.dtype == torch.float64 for column in data.values())


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "kidiq" else pytest.mark.slow) for n in BY_NAME])
def test_known_posterior(name):
    torch.set_default_dtype(torch.float32)  # as its user has it
    row = compare(BY_NAME[name], seed=0, budget=5000 if name in RIGHT else 10_000)
    assert row.right or row.state in ("poor", "unfinished"), row
    if name in RIGHT:
        assert row.right, row
        assert row.state in ("good", "usable"), row


def test_wrong_rows_are_told():
    row = Row("p", 0, 1, 1, "vmap", 0.1, 1.1, "good", 1.0, 0, 1, 1.0)
    assert row.right
    assert not Row(*(vars(row) | {"mean_off": 0.6}).values()).right
    assert not Row(*(vars(row) | {"sd_ratio": 0.6}).values()).right
