"""The examples of README and docs/inference.md, run as they stand."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def block(page, start):
    """The first Python block of a page after a text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text[text.index(start) :], re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def single():
    torch.set_default_dtype(torch.float32)  # as a user's
    yield
    torch.set_default_dtype(torch.float64)


def test_your_own_simulator(tmp_path, monkeypatch, single, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(block("README.md", "## Calibrate your own simulator"), "README.md", "exec"), names)
    draws = names["draws"]
    assert abs(float(draws["contact"].mean()) - 0.6) < 0.02
    assert abs(float(draws["recovery"].mean()) - 0.2) < 0.02
    assert names["density"].shape == (1000,)
    assert "good: " in capsys.readouterr().out
    kept = names["again"].sample(5, torch.Generator().manual_seed(1))["contact"]
    torch.testing.assert_close(kept, names["found"].sample(5, torch.Generator().manual_seed(1))["contact"])
    assert {p.name for p in tmp_path.iterdir()} == {"my_calibration"}


def test_a_stochastic_simulator(capsys, single):
    """Against weights of 1,500 parameters by the mean likelihood of 200 runs each: stay 2.16 (sd 0.49), rate 76.2 (sd 13.2)."""
    names: dict = {}
    exec(compile(block("README.md", "**A stochastic simulator.**"), "README.md", "exec"), names)
    draws = names["visit"].sample(4000, torch.Generator().manual_seed(1))
    for name, mean, sd in (("stay", 2.16, 0.492), ("rate", 76.2, 13.2)):
        assert abs(float(draws[name].mean()) - mean) < 0.5 * sd
        assert 1 / 1.5 < float(draws[name].std()) / sd < 1.5
    assert names["visit"].report["simulations"] <= 500
    assert capsys.readouterr().out.startswith(("good", "usable"))


def test_two_towns(tmp_path, monkeypatch, single):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(block("docs/inference.md", "# Inference"), "docs/inference.md", "exec"), names)
    size = names["corrected"]["size"].mean(0)
    assert abs(float(size[0]) - 30) < 3
    assert abs(float(size[1]) - 90) < 5
    assert names["page"].word == "pass"
    assert names["again"].can_correct


def test_pyro_model(single):
    names: dict = {}
    exec(compile(block("docs/inference.md", "## A Pyro model"), "docs/inference.md", "exec"), names)
    assert names["found"].verdict.state in ("good", "usable")
    mu, tau = names["draws"]["mu"], names["draws"]["tau"]  # known: 4.41 +- 3.31 and 3.60 +- 3.20
    assert abs(float(mu.mean()) - 4.41) < 0.5 * 3.31
    assert abs(float(tau.mean()) - 3.60) < 0.5 * 3.20
    assert names["data"]["y"].shape == (200, 8)
    assert names["tree"]["posterior"]["theta"].shape[2:] == (8,)
