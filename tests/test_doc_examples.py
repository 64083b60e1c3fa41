"""Examples in the docstrings of public objects run; how many objects have none may only fall."""

import doctest
import importlib
import inspect
import sys

import pytest
import torch

PACKAGES = (
    "calib", "calib.composition", "calib.diagnostics", "calib.federated", "calib.multifidelity", "calib.privacy", "sim", "ode",
    "behaviour", "protocols", "epi", "posterity",
)  # fmt: skip
WITHOUT = 233
"""Public classes and functions without an example: lower it with every example that is written."""
ELSEWHERE = {
    "calib._brings_jacobian", "calib._calibrate", "calib._continue", "calib._executor", "calib._hub", "calib._update",
    "calib.composition._compose", "calib.composition._fit_function", "calib.composition._pooled", "calib._idata",
}  # fmt: skip
"""Modules whose examples take seconds and are run by the tests of the module."""


def public():
    """Every public class and function but errors once, by its first public name."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
            value = getattr(module, name)
            error = inspect.isclass(value) and issubclass(value, BaseException)
            if (inspect.isclass(value) or inspect.isfunction(value)) and not error:
                found.setdefault(value, f"{package}.{name}")
    return {name: value for value, name in found.items()}


PUBLIC = public()
SHOWN = [
    name
    for name, value in PUBLIC.items()
    if ">>>" in (inspect.getdoc(value) or "") and value.__module__ not in ELSEWHERE
]


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_runs(name):
    value, before = PUBLIC[name], torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # as a user's
    try:
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        for example in doctest.DocTestFinder(recurse=False).find(value, name, module=sys.modules[value.__module__]):
            runner.run(example)
    finally:
        torch.set_default_dtype(before)
    assert runner.tries
    assert not runner.failures


def test_what_a_newcomer_meets_first_has_an_example():
    first = (
        "calib.calibrate", "calib.Calibration", "calib.Parameter", "calib.ParameterSpace", "calib.CalibrationVerdict", "sim.epidemic",
        "sim.jacobian", "ode.within_host", "calib.sensitivity", "calib.score_forecast", "calib.weighted_interval_score", "epi.Study",
        "epi.LogNormal", "epi.NaturalHistory", "epi.Cases", "epi.Households", "posterity.Study",
    )  # fmt: skip
    assert not [name for name in first if ">>>" not in (inspect.getdoc(PUBLIC[name]) or "")]


def test_objects_without_an_example_may_only_become_fewer():
    bare = [name for name, value in PUBLIC.items() if ">>>" not in (inspect.getdoc(value) or "")]
    assert len(bare) <= WITHOUT, f"{len(bare)} have none, at most {WITHOUT} may: {', '.join(bare)}"
