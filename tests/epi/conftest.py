"""The made-up study, built once: tables, population, simulators."""

from types import SimpleNamespace

import pytest
import torch

from epi.data import Layout, load_data, observed
from epi.model import Simulator, make_context, make_observation, parameter_space
from epi.population import build_population
from tests.made_up.study import study

HERE = (torch.device("cpu"), torch.float64)


def build(declared, data=None, scale=0.2, last=None):
    """A simulator of a study over all its weeks, in double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        data = load_data(declared) if data is None else data
        population, _ = build_population(data, scale, seed=0)
        calendar = declared.calendar
        last = last or calendar.last_week
        days, weeks = calendar.days_until(last), calendar.weeks(last=last)
        context = make_context(data, population, days, *HERE)
        observation = make_observation(data, population, days, weeks, *HERE)
        return Simulator(population, context, observation, parameter_space(declared))
    finally:
        torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def made_up():
    """Study, tables, simulator and observations of the made-up study."""
    simulator = build(study)
    data = simulator.context.setting.data
    weeks = study.calendar.weeks()
    return SimpleNamespace(
        study=study,
        data=data,
        simulator=simulator,
        space=simulator.space,
        observed=observed(data, weeks, study.options),
        layout=Layout(study, weeks),
    )
