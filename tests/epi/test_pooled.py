"""Several studies under one prior: likelihood, derivatives and posterior of the pool are made of those of its studies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from calib.multifidelity import Recorder, Settings, warm_start
from epi.data import observed
from epi.errors import StudyError
from epi.inference.pooled import pooled_studies
from tests.epi.conftest import build
from tests.made_up.study import study

SHARED = ("transmission_community", "transmission_household")


@pytest.fixture(scope="module")
def two():
    """The made-up study and the same with twice the cases in its last fitted weeks."""
    last = study.calendar.forecast_from
    simulator = build(study, scale=0.05, last=last)
    weeks = study.calendar.weeks(last=last)
    data = observed(simulator.context.setting.data, weeks, study.options)
    counts = dict(data.counts)
    factor = torch.as_tensor(np.where(np.arange(len(weeks)) < 3, 1.0, 2.0))[:, None]
    more = replace(data, counts={n: (x * factor).round() for n, x in counts.items()})
    return {"first": simulator, "second": simulator}, {"first": data, "second": more}


def test_the_likelihood_is_the_sum_and_derivatives_follow_the_chain_rule(two):
    simulators, data = two
    problem, coordinates = pooled_studies(simulators, data, shared=SHARED)
    space = simulators["first"].space
    assert problem.space.dim == 2 * (space.dim - 2) + 2 * (1 + 1 + 2)
    z = 0.3 * torch.randn(2, problem.space.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fidelity = problem.fidelity("slopes")
    value, slope = problem.jacobian(z, 3, fidelity)
    torch.testing.assert_close(value, problem.simulate(z, 3, fidelity))
    size = simulators["first"].layout.size
    own, own_slope = simulators["second"].jacobian(coordinates.own("second", z), 3, torch.arange(2))
    torch.testing.assert_close(value[:, size:], own)
    inward = coordinates.inward("second", z)
    torch.testing.assert_close(slope[:, size:], own_slope @ inward)
    which = problem.observations.which
    parts = [
        pooled_parts.log_likelihood(coordinates.own(name, z), mean)
        for (name, pooled_parts), mean in zip(
            ((n, p.observations) for n, p in problem.observations.problems.items()),
            value[:, which].chunk(2, 1),
            strict=True,
        )
    ]
    torch.testing.assert_close(problem.observations.log_likelihood(z, value[:, which]), parts[0] + parts[1])
    known = problem.observations.information(z, value, slope)
    second = problem.observations.problems["second"].observations.information(
        coordinates.own("second", z), own, own_slope
    )
    first = problem.observations.problems["first"].observations.information(
        coordinates.own("first", z),
        value[:, :size],
        slope[:, :size] @ torch.linalg.pinv(coordinates.inward("first", z)),
    )
    other = coordinates.inward("first", z)
    torch.testing.assert_close(known, other.mT @ first @ other + inward.mT @ second @ inward)


def test_studies_pull_one_another(two):
    """The study with more cases has more transmission, and both lie nearer to each other where the sd is small."""
    gaps = []
    for width in (0.05, 1.0):
        prior = torch.distributions.LogNormal(torch.tensor(width).double().log(), torch.tensor(0.05).double())
        problem, coordinates = pooled_studies(two[0], two[1], shared=SHARED, sd=prior)
        warm = warm_start(problem, Settings(warm_steps=4, warm_runs=2, level_runs=0), Recorder())
        where = two[0]["first"].space.slice_of("transmission_community")
        own = [float(coordinates.own(name, warm.z)[where]) for name in ("first", "second")]
        gaps.append(own[1] - own[0])
    assert 0 < gaps[0] < gaps[1]


def test_bad_input_is_refused_in_one_sentence(two):
    simulators, data = two
    with pytest.raises(ValueError, match="one region alone"):
        pooled_studies({"first": simulators["first"]}, {"first": data["first"]}, shared=SHARED)
    with pytest.raises(StudyError, match="give both of the same studies"):
        pooled_studies(simulators, {"first": data["first"]}, shared=SHARED)
    with pytest.raises(ValueError, match="no parameter 'aversion'"):
        pooled_studies(simulators, data, shared=("aversion",))
    with pytest.raises(ValueError, match="no 'third' in the pool"):
        pooled_studies(simulators, data, shared=SHARED)[1].own("third", torch.zeros(1, 9))
