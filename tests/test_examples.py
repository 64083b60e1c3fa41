"""The models of other packages in examples/, run at a small budget where the package is installed."""

import importlib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))  # workers look for the simulator by its module's name
    monkeypatch.setenv("PYTHONPATH", f"{EXAMPLES}:{EXAMPLES.parent}")
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("package", "name", "simulate", "theta"),
    [
        ("epydemix", "epydemix_sir", "weekly_cases", {"transmission": 0.3, "recovery": 0.2}),
        ("mesa", "mesa_sir", "daily_cases", {"chance": 0.08, "recovery": 0.2}),
    ],
)
def test_a_run_follows_from_its_seed(package, name, simulate, theta, monkeypatch):
    pytest.importorskip(package)
    run = getattr(load(name, monkeypatch), simulate)
    assert run(theta, 1).tolist() == run(theta, 1).tolist()
    assert run(theta, 1).tolist() != run(theta, 2).tolist()


@pytest.mark.slow  # workers import everything anew
@pytest.mark.parametrize(("package", "name"), [("epydemix", "epydemix_sir"), ("mesa", "mesa_sir")])
def test_examples(package, name, monkeypatch):
    pytest.importorskip(package)
    found = load(name, monkeypatch).main(400)
    assert found.report["method"] in ("abc-regression", "importance")
    assert not found.report["failures"]
    assert found.summary()["mean"].notna().all()
