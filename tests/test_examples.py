"""The models of other packages in examples/, run at a small budget where the package is installed."""

import importlib
import os
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def needs(package):
    """Skip without the package; where tests decide (CI=true) its absence is a failure."""
    if os.environ.get("CI") == "true":
        importlib.import_module(package)
    pytest.importorskip(package)


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))  # workers look for the simulator by its module's name
    monkeypatch.setenv("PYTHONPATH", f"{EXAMPLES}:{EXAMPLES.parent}")
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("package", "name", "simulate", "theta"),
    [
        ("epydemix", "epydemix_sir", "weekly_cases", {"transmission": 0.3, "recovery": 0.2}),
        ("mesa", "mesa_sir", "daily_cases", {"chance": 0.08, "recovery": 0.2}),
        ("starsim", "starsim_sir", "weekly_cases", {"transmission": 0.06, "infectious_days": 8.0}),
        ("covasim", "covasim_wave", "weekly_diagnoses", {"transmission": 0.016, "tested": 0.1}),
        ("distributed", "dask_workers", "daily_cases", {"transmission": 0.5, "recovery": 0.2}),
    ],
)
def test_a_run_follows_from_its_seed(package, name, simulate, theta, monkeypatch):
    needs(package)
    run = getattr(load(name, monkeypatch), simulate)
    assert run(theta, 1).tolist() == run(theta, 1).tolist()
    assert run(theta, 1).tolist() != run(theta, 2).tolist()


@pytest.mark.slow  # workers import everything anew
@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("epydemix", "epydemix_sir"),
        ("mesa", "mesa_sir"),
        ("starsim", "starsim_sir"),
        ("covasim", "covasim_wave"),
        ("distributed", "dask_workers"),
    ],
)
def test_examples(package, name, monkeypatch):
    needs(package)
    found = load(name, monkeypatch).main(400)
    assert found.report["method"] in ("abc-regression", "importance")
    assert not found.report["failures"]
    assert found.summary()["mean"].notna().all()
