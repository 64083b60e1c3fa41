"""Answers as behaviour: nothing at strength 0, exact shares, derivatives, no look into the future, the GLS slope."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
import torch

import epi
from behaviour import AnswerTable, Archetypes, Question
from epi.model import prepare
from epi.model.elicited import context_of, interpolate, savage_dickey
from tests.epi.conftest import build
from tests.made_up.study import study as known

GRID = (0.0, 50.0, 1000.0)


def table(by, seed=0, grid=GRID):
    levels = {known.region.axis: known.region.names, "age": known.ages.names}
    kinds = Archetypes({name: levels[name] for name in by})
    question = Question("q", "Would you?", "cases", grid)
    rows = [
        {"archetype": a, "context": c, "draw": 0, "model": "m", "status": "ok", "answer": 0.5}
        for a in kinds.labels
        for c in grid
    ]
    empty = AnswerTable(kinds, question, pd.DataFrame(rows), {"made_up": True})
    return empty.replaced(np.random.default_rng(seed).normal(0.0, 1.0, (len(kinds), len(grid))))


def with_behaviour(affects, by):
    return replace(known, parts=(*known.parts, epi.ElicitedBehaviour(table(by), affects=affects)))


@pytest.fixture(
    scope="module",
    params=[("testing", ("county", "age")), ("isolation", ("age",)), ("work", ("county", "age"))],
    ids=lambda p: p[0],
)
def pair(request):
    affects, by = request.param
    return affects, build(with_behaviour(affects, by), scale=0.05), build(known, scale=0.05)


def test_without_strength_and_scatter_nothing_changes(pair):
    affects, with_it, without = pair
    z = torch.randn(2, with_it.space.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta = with_it.space.to_theta(z)
    theta["behaviour_strength"] = torch.zeros(2, dtype=torch.float64)
    theta["behaviour_sd"] = torch.zeros(2, dtype=torch.float64)
    if affects == "work":  # those who stay away whatever they say
        theta["behaviour_effect"] = torch.zeros(2, dtype=torch.float64)
    found = with_it.bind(3, torch.arange(2))(theta)
    usual = without.bind(3, torch.arange(2))({n: x for n, x in theta.items() if not n.startswith("behaviour_")})
    for name in usual:
        assert torch.allclose(found[name], usual[name], rtol=1e-12), name


def test_testing_moves_each_archetypes_reports_on_log_odds():
    s = build(with_behaviour("testing", ("county", "age")), scale=0.05)
    theta = s.space.to_theta(torch.zeros(1, s.space.dim, dtype=torch.float64))
    theta["behaviour_strength"] = torch.ones(1, dtype=torch.float64)
    theta["behaviour_sd"] = torch.zeros(1, dtype=torch.float64)
    expected, epidemic = s.simulate(theta, 1, torch.zeros(1, dtype=torch.long))
    (part,) = s.observation.testing
    off = part.log_odds(theta)[0]  # [K, T]
    share = torch.sigmoid(torch.logit(theta["ascertainment_tests"]) + off)
    delay = s.observation.streams["cases_county"].delay
    by_hand = torch.zeros_like(expected["cases_county"][0])
    for r in range(2):
        for a in range(3):
            reported = epidemic.infections[0, :, r, a] @ (delay * share[part.archetype[r, a]])
            by_hand[:, r] += s.observation.week @ reported
    assert torch.allclose(expected["cases_county"][0], by_hand)
    assert float((share - theta["ascertainment_tests"]).abs().max()) > 0.05


def test_what_moves_reports_alone_has_the_derivative_of_differences():
    s = build(with_behaviour("testing", ("county", "age")), scale=0.05)
    z = torch.randn(1, s.space.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    _, jacobian = s.jacobian(z, 3, torch.zeros(1, dtype=torch.long))

    def value(x):
        return s.layout.flat(s.bind(3, torch.zeros(1, dtype=torch.long))(s.space.to_theta(x)))

    for i in [i for i, n in enumerate(s.space.names) if n.startswith("behaviour_")]:
        step = torch.zeros_like(z)
        step[0, i] = 1e-5
        assert torch.allclose((value(z + step) - value(z - step)) / 2e-5, jacobian[:, :, i], atol=1e-5)


def test_isolation_and_work_have_derivatives_that_are_finite_and_not_zero(pair):
    affects, s, _ = pair
    z = torch.randn(1, s.space.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, jacobian = s.jacobian(z, 3, torch.zeros(1, dtype=torch.long))
    column = jacobian[0, :, list(s.space.names).index("behaviour_strength")]
    assert torch.isfinite(column).all()
    assert float(column.abs().sum()) > 0, affects


def test_answers_are_exact_at_grid_points_and_differentiable_in_incidence_between():
    values, grid = torch.randn(3, 3, dtype=torch.float64), torch.tensor(GRID, dtype=torch.float64)
    assert torch.allclose(interpolate(values, grid, grid), values)
    assert torch.allclose(interpolate(values, grid, torch.tensor([1e6], dtype=torch.float64))[:, 0], values[:, -1])
    part = prepare(epi.ElicitedBehaviour(table(("age",)), affects="work"), build(known, scale=0.05).context.setting)
    theta = {"behaviour_strength": torch.ones(1, dtype=torch.float64), "behaviour_sd": torch.zeros(1, dtype=torch.float64),
             "behaviour_deviation": torch.zeros(1, 3, dtype=torch.float64), "behaviour_level": torch.zeros(1, dtype=torch.float64)}  # fmt: skip
    x = torch.tensor([20.0, 300.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: part.probability(theta, c), (x,))


def test_the_context_is_last_weeks_and_never_the_futures(made_up):
    setting = made_up.simulator.context.setting
    part = epi.ElicitedBehaviour(table(("age",)), affects="work")
    context, calendar = context_of(part, setting), known.calendar
    series, people = made_up.data.series["cases_county"], setting.data.population.sum()
    week = date(2030, 4, 6)
    expected = 1e5 * series.loc[str(week)].sum() / people
    day = calendar.day_of(week)
    assert np.allclose(context[day + 1 : day + 8], expected)
    assert context[day] != expected  # the week has not ended
    last = 1e5 * series.loc[str(calendar.forecast_from)].sum() / people
    assert np.allclose(context[calendar.day_of(calendar.forecast_from + timedelta(days=1)) :], last)
    assert not context[: calendar.day_of(calendar.first_week) + 1].any()


@pytest.mark.parametrize(
    ("affects", "by", "said"),
    [("isolation", ("county", "age"), "by 'county'"), ("money", ("age",), "affects 'money'")],
)
def test_what_cannot_be_is_one_sentence(affects, by, said):
    with pytest.raises(epi.StudyError, match=said):
        with_behaviour(affects, by)


def test_archetypes_of_another_study_are_refused():
    kinds = Archetypes({"age": ("0-9", "10+")})
    rows = [
        {"archetype": a, "context": 0.0, "draw": 0, "model": "m", "status": "ok", "answer": 0.5} for a in kinds.labels
    ]
    other = AnswerTable(kinds, Question("q", "?", "cases", (0.0,)), pd.DataFrame(rows), {"made_up": True})
    with pytest.raises(epi.StudyError, match="expected those of the study"):
        replace(known, parts=(*known.parts, epi.ElicitedBehaviour(other, affects="testing")))


def test_the_strength_of_a_linear_gaussian_observation_is_the_gls_slope():
    """With log odds observed with normal noise, the posterior of the strength under the part's own covariance is the GLS slope."""
    part = prepare(
        epi.ElicitedBehaviour(table(("county", "age"), grid=(0.0,)), affects="testing"),
        build(known, scale=0.05).context.setting,
    )
    k, sd, noise = 6, 0.4, 0.3
    x = part.answers[:, 0].numpy()
    y = 0.7 * x + np.random.default_rng(0).normal(0.0, 0.5, k)

    # columns of the design: strength, then the deviations, as the part itself gives them
    def at(strength, deviation):
        theta = {
            "behaviour_strength": torch.tensor([strength]),
            "behaviour_sd": torch.tensor([sd]),
            "behaviour_deviation": deviation[None],
        }
        return part.log_odds(theta, torch.zeros(1))[0, :, 0].numpy()

    zero = torch.zeros(k)
    design = np.column_stack([at(1.0, zero), *(at(0.0, torch.eye(k)[i]) for i in range(k))])
    precision = design.T @ design / noise**2 + np.diag([1e-12, *np.ones(k)])
    joint = np.linalg.solve(precision, design.T @ y / noise**2)[0]
    variance = np.full(k, noise**2 + sd**2)
    gls = (x / variance) @ y / ((x / variance) @ x)
    assert joint == pytest.approx(gls, rel=1e-6)


def test_savage_dickey_on_a_conjugate_model():
    """Prior N(0, 1), posterior N(m, s^2): the ratio of densities at 0."""
    draws = np.random.default_rng(0).normal(0.8, 0.3, 200_000)
    exact = (1 / np.sqrt(2 * np.pi)) / (np.exp(-0.5 * (0.8 / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi)))
    assert savage_dickey(draws, 1 / np.sqrt(2 * np.pi)) == pytest.approx(exact, rel=0.05)


def test_another_table_is_another_problem():
    """A run that is resumed with other answers must be refused: the checksum of the table stands with the priors."""
    from epi.model import parameter_space

    one, two = (
        replace(known, parts=(*known.parts, epi.ElicitedBehaviour(table(("age",), seed), affects="testing")))
        for seed in (0, 1)
    )
    assert parameter_space(one).describe().to_json() != parameter_space(two).describe().to_json()
    assert parameter_space(one).describe().to_json() == parameter_space(one).describe().to_json()
