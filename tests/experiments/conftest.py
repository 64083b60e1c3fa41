"""A tiny New Zealand and a tiny finished run, made once for all tests of the study."""

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer
from filelock import FileLock
from typer.testing import CliRunner

from epi.data import observed
from epi.model import Simulator, parameter_space
from epi.model.observation import make_observation
from epi.model.transmission import make_context
from epi.population.build import build_population
from experiments.nz_calibration.__main__ import main
from tests.conftest import double_precision, shared_folder
from tests.experiments import nz

SCALE = 0.002
TINY = (
    "--smoke", "--scale", str(SCALE), "--particles", "4", "--warm-start", "2", "--draws", "10",
    "--max-steps", "6", "--max-seconds", "600", "--threads", "1",
)  # fmt: skip
"""Settings of the smallest run that does everything; steps decide when its fit ends, not time."""

APP = typer.Typer()
APP.command()(main)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run when they are asked for (`pytest -m slow`), and not by default."""
    if not config.getoption("markexpr"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run it with -m slow"))


def command(*arguments: object) -> SimpleNamespace:
    """Run the command line in this process; exit code, standard error, and its last line."""
    result = CliRunner().invoke(APP, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return SimpleNamespace(code=result.exit_code, stderr=result.stderr, lines=lines, last=lines[-1] if lines else "")


def make_simulator(epidemic_data, population, space, last: date, dtype: torch.dtype = torch.float64) -> Simulator:
    days, weeks = nz.CALENDAR.days_until(last), nz.CALENDAR.weeks(last=last)
    where = (torch.device("cpu"), dtype)
    context = make_context(epidemic_data, population, days, *where)
    return Simulator(population, context, make_observation(epidemic_data, population, days, weeks, *where), space)


@pytest.fixture(scope="session")
def epidemic_data():
    return nz.tables()


@pytest.fixture(scope="session")
def tiny(epidemic_data):
    """Population, parameter space, simulators of the fitted weeks and of all weeks, and the real data."""
    with double_precision():
        population, _ = build_population(epidemic_data, SCALE, seed=0, balance=0.5)
        space = parameter_space(nz.study)
        short, full = (make_simulator(epidemic_data, population, space, d) for d in (nz.FORECAST_DATE, nz.LAST_WEEK))
        weeks = nz.CALENDAR.weeks()
        data = observed(epidemic_data, weeks, nz.OPTIONS)
    return SimpleNamespace(population=population, space=space, short=short, full=full, data=data)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> Path:
    """The folder of an undisturbed tiny run, one for all processes that test side by side; tests copy it and leave it alone."""
    shared = shared_folder(tmp_path_factory, worker_id)
    folder, done = shared / "undisturbed", shared / "undisturbed.done"
    with FileLock(shared / "undisturbed.lock"):
        if not done.exists():
            with double_precision():
                result = command(*TINY, "--output", folder)
            assert result.code == 0, result.stderr
            done.touch()
    return folder


@pytest.fixture
def context(tiny: SimpleNamespace) -> object:
    """The fixed part of the rates of the tiny country."""
    return tiny.full.context


@pytest.fixture
def theta(tiny: SimpleNamespace) -> dict[str, torch.Tensor]:
    """Three draws of the prior; modules with parameters of their own shadow it."""
    return tiny.space.to_theta(torch.randn(3, tiny.space.dim, generator=torch.Generator().manual_seed(4)))
