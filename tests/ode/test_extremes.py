"""Whatever the parameters, a course is finite throughout or its particle is flagged; nothing in between."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ode

KINDS = ode.archetypes_by_age_and_dose(age_midpoints=(5.0, 78.0))
NAMES = [prior.name for prior in ode.PRIORS]
SCORES = st.lists(st.floats(-12.0, 12.0), min_size=7, max_size=7)
ANY = st.floats(allow_nan=True, allow_infinity=True, width=64)


def everything(parameters):
    course = ode.within_host(parameters, KINDS)
    tables = {
        "viral_load": course.viral_load,
        "antibody": course.antibody,
        "infectiousness": ode.infectiousness(course.viral_load),
        "shedding": ode.shedding(course.viral_load),
        "susceptibility": ode.susceptibility(course.antibody_at_exposure, parameters),
        "severity": ode.severity(course, parameters),
        "waned": ode.waned(course.antibody[..., -1], 100.0, parameters),
    }
    return course, tables


def check(parameters):
    course, tables = everything(parameters)
    assert course.finite.dtype == torch.bool
    for name, table in tables.items():
        for p in range(2):
            if course.finite[p]:
                assert torch.isfinite(table[p]).all(), name
    return course


@settings(max_examples=12, deadline=None)
@given(SCORES, SCORES)
@example([0.0] * 7, [12.0, 0, 0, 0, 0, 0, 0])
@example([-12.0] * 7, [12.0] * 7)
def test_far_draws_of_the_prior_are_finite_or_flagged(one, other):
    z = torch.tensor([one, other]).T
    check(ode.WithinHostParameters(**{p.name: p.quantile(row) for p, row in zip(ode.PRIORS, z, strict=True)}))


@settings(max_examples=15, deadline=None)
@given(st.lists(ANY, min_size=7, max_size=7))
@example([float("nan")] * 7)
@example([0.0] * 7)
@example([-4.0, -1.5, -0.5, -1.0, 1.2, -3.0, 0.0])
def test_any_numbers_at_all_are_finite_or_flagged_and_leave_the_neighbour_alone(values):
    median = ode.prior_median()
    both = ode.WithinHostParameters(
        **{n: torch.stack((getattr(median, n), torch.tensor(x))) for n, x in zip(NAMES, values, strict=True)}
    )
    course = check(both)
    assert course.finite[0]
    torch.testing.assert_close(course.viral_load[0], ode.within_host(median, KINDS).viral_load)


@pytest.mark.parametrize("name", NAMES)
def test_one_strange_number_among_seven_is_finite_or_flagged(name):
    strange = torch.tensor([float("nan"), float("inf"), -float("inf"), -3.0, 0.0, 1e300, -1e300, 1e-300])
    values = {n: getattr(ode.prior_median(), n).expand(len(strange)) for n in NAMES} | {name: strange}
    course, tables = everything(ode.WithinHostParameters(**values))
    assert not course.finite[:3].any()
    for label, table in tables.items():
        assert torch.isfinite(table[course.finite]).all(), label


@settings(max_examples=5, deadline=None)
@given(SCORES)
def test_gradients_of_unflagged_draws_are_finite(scores):
    leaf = torch.tensor([scores, [0.0] * 7]).requires_grad_()
    parameters = ode.WithinHostParameters(**{p.name: p.quantile(leaf[:, i]) for i, p in enumerate(ode.PRIORS)})
    course, tables = everything(parameters)
    good = course.finite
    total = sum(table[good].sum() for name, table in tables.items() if name != "shedding")
    (gradient,) = torch.autograd.grad(total, leaf)
    assert torch.isfinite(gradient[good]).all()
