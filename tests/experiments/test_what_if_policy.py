"""Policy search: constraints, searches on problems with known answers, the gradient of the epidemic, the command."""

from dataclasses import dataclass
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import typer
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from typer.testing import CliRunner

from calib import RunFolder
from epi.errors import StudyError
from epi.model.transmission import host_tables
from epi.scenarios.allocation.constraints import Constraints
from epi.scenarios.allocation.policy import LAYERS, Expectation, policy_weeks
from epi.scenarios.allocation.policy_check import check_gradient
from epi.scenarios.allocation.search import derivative_free, greedy, projected_gradient
from epi.scenarios.comparison import compare
from epi.scenarios.people import tell_apart
from epi.scenarios.world import WorldSimulator
from experiments.what_if import policy as command
from tests.experiments import nz

MONDAYS = tuple(date(2022, 2, 14 + 7 * i) for i in range(2))


def box(budget=0.8, low=0.0, high=0.5, cost=(1.0, 2.0, 0.5), weeks=2):
    shape = (weeks, 3)
    return Constraints(torch.full(shape, low), torch.full(shape, high), torch.tensor(cost), budget)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1.0, 2.0), min_size=6, max_size=6), st.floats(0.05, 3.0))
def test_projection_is_the_nearest_feasible_policy(values, budget):
    constraints, v = box(budget=budget), torch.tensor(values).reshape(2, 3)
    u = constraints.project(v)
    assert (u >= 0).all()
    assert (u <= 0.5).all()
    assert constraints.spent(u) <= budget + 1e-9
    price = constraints.cost.expand(2, 3).numpy().ravel()
    best = minimize(
        lambda x: (price * (x - v.numpy().ravel()) ** 2).sum(),
        np.zeros(6),
        jac=lambda x: 2 * price * (x - v.numpy().ravel()),
        bounds=[(0, 0.5)] * 6,
        constraints=[{"type": "ineq", "fun": lambda x: budget - price @ x, "jac": lambda x: -price}],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 300},
    )
    assert (constraints.cost * (u - v) ** 2).sum().item() <= best.fun + 1e-7


def test_a_feasible_policy_is_its_own_projection():
    u = torch.tensor([[0.1, 0.0, 0.2], [0.0, 0.1, 0.0]])
    assert torch.equal(box().project(u), u)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5.0, 5.0), min_size=6, max_size=6), st.floats(0.05, 3.0))
def test_the_vertex_solves_the_linear_problem(values, budget):
    constraints, slope = box(budget=budget), torch.tensor(values).reshape(2, 3)
    u = constraints.vertex(slope)
    price = constraints.cost.expand(2, 3).numpy().ravel()
    best = linprog(slope.numpy().ravel(), A_ub=price[None], b_ub=[budget], bounds=[(0, 0.5)] * 6)
    # linprog takes slopes below its own tolerance for none
    assert float((slope * u).sum()) == pytest.approx(best.fun, abs=1e-6)
    assert constraints.spent(u) <= budget + 1e-9


def test_equal_shares_spend_the_budget():
    u = box().equal_shares()
    assert box().spent(u) == pytest.approx(0.8, abs=1e-9)
    assert (u == u[0, 0]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0.5, "low": 0.2}, "budget of 0.5 cannot be met: the lower bounds alone cost 1.4"),
        ({"budget": -1.0}, "budget of -1 cannot be met"),
        ({"budget": float("nan")}, "budget of nan cannot be met"),
        ({"budget": 9.0}, "leaves nothing to choose"),
        ({"high": 1.5}, "give shares from 0 to 1"),
        ({"low": 0.6}, "give shares from 0 to 1"),
        ({"cost": (1.0, 0.0, 1.0)}, "give numbers above 0"),
    ],
)
def test_constraints_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(StudyError, match=message):
        box(**arguments)


def test_weeks_of_a_policy():
    assert policy_weeks(nz.CALENDAR, date(2022, 2, 16), date(2022, 3, 6), 130) == (date(2022, 2, 21), date(2022, 2, 28))
    for first, last in (
        (date(2022, 1, 1), date(2022, 3, 1)),
        (date(2022, 3, 1), date(2022, 7, 1)),
        (date(2022, 3, 2), date(2022, 3, 1)),
    ):
        with pytest.raises(StudyError, match="the simulated days are 2022-01-20 to 2022-05-29"):
            policy_weeks(nz.CALENDAR, first, last, 130)
    with pytest.raises(StudyError, match="no whole week"):
        policy_weeks(nz.CALENDAR, date(2022, 2, 15), date(2022, 2, 20), 130)


@dataclass(frozen=True)
class Quadratic:
    """An outcome with a known best policy: distance to a target, with noise that differs by draw and seed."""

    target: torch.Tensor
    noise: float = 0.0
    draws: int = 20

    def admissions(self, u, at, seed):
        generator = torch.Generator().manual_seed(seed % 2**31)
        return 100 + 50 * ((u - self.target) ** 2).sum() + self.noise * torch.randn(len(at), generator=generator)

    def gradient(self, u, at, seed):
        generator = torch.Generator().manual_seed(seed % 2**31)
        slope = 100 * (u - self.target) + self.noise * torch.randn(u.shape, generator=generator)
        return float(self.admissions(u, at, seed).mean()), slope


TARGET = torch.tensor([[0.45, 0.1, 0.3], [0.2, 0.05, 0.6]])


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_projected_gradient_finds_the_best_policy(noise):
    constraints = box(cost=(1.0, 1.0, 1.0), budget=1.0)
    found = projected_gradient(Quadratic(TARGET, noise), constraints, steps=150, draws=4, seed=0)
    assert (found.policy - constraints.project(TARGET)).abs().max() < (0.02 if noise == 0 else 0.06)
    assert constraints.spent(found.policy) <= 1.0 + 1e-9
    assert found.cost - found.simulations == 2 * (150 * 4 + 4 * 8)  # a gradient counts as two more


def test_searches_are_repeatable():
    one, second = (projected_gradient(Quadratic(TARGET, 5.0), box(), steps=6, draws=4, seed=3).policy for _ in range(2))
    assert torch.equal(one, second)
    other = projected_gradient(Quadratic(TARGET, 5.0), box(), steps=6, draws=4, seed=4).policy
    assert not torch.equal(one, other)


def test_a_gradient_that_is_not_finite_is_refused():
    with pytest.raises(StudyError, match="gradient of step 0 is not finite"):
        projected_gradient(Quadratic(TARGET * torch.nan), box(), steps=3, draws=2, seed=0)


@dataclass(frozen=True)
class Linear:
    """An outcome in which every unit of stringency averts what its cell says."""

    worth: torch.Tensor
    draws: int = 8

    def admissions(self, u, at, seed):
        return (100 - (self.worth * u).sum()).expand(len(at))

    def gradient(self, u, at, seed):
        return float(self.admissions(u, at, seed).mean()), -self.worth


def test_greedy_is_best_where_effects_add_up():
    worth = torch.tensor([[3.0, 1.0, 9.0], [8.0, 2.0, 4.0]])
    constraints = box(cost=(1.0, 1.0, 1.0), budget=1.2)
    found = greedy(Linear(worth), constraints, portions=12, draws=2, seed=0)
    torch.testing.assert_close(found.policy, torch.tensor([[0.0, 0.0, 0.5], [0.5, 0.0, 0.2]]))
    gradient = projected_gradient(Linear(worth), constraints, steps=60, draws=2, seed=0)
    assert float((worth * gradient.policy).sum()) == pytest.approx(float((worth * found.policy).sum()), rel=0.02)


def test_greedy_in_rounds_and_cells_without_room():
    worth = torch.tensor([[3.0, 1.0, 9.0], [8.0, 2.0, 4.0]])
    high = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.5]])
    constraints = Constraints(torch.zeros(2, 3), high, torch.ones(2, 3), 1.2)
    best = torch.tensor([[0.2, 0.0, 0.0], [0.5, 0.0, 0.5]])
    rounds = greedy(Linear(worth), constraints, portions=2, draws=2, seed=0, rounds=True)
    torch.testing.assert_close(rounds.policy, best)
    assert rounds.simulations < greedy(Linear(worth), constraints, portions=12, draws=2, seed=0).simulations
    remembered = projected_gradient(Linear(worth), constraints, steps=2, draws=2, seed=0, remember=True)
    torch.testing.assert_close(remembered.policy, best)
    for method in ("cobyla", "evolution"):
        found = derivative_free(Linear(worth), constraints, method, limit=100, draws=2, seed=0)
        assert found.policy[0, 2] == 0


@pytest.mark.parametrize("method", ["cobyla", "evolution"])
def test_derivative_free_searches_keep_to_limits_and_improve(method):
    constraints = box(cost=(1.0, 1.0, 1.0), budget=1.0)
    problem = Quadratic(TARGET)
    found = derivative_free(problem, constraints, method, limit=400, draws=2, seed=0)
    assert found.simulations <= 400
    assert constraints.spent(found.policy) <= 1.0 + 1e-9
    at = torch.arange(2)
    start, end = (float(problem.admissions(u, at, 0).mean()) for u in (constraints.equal_shares(), found.policy))
    assert end < start
    values = [float(problem.admissions(u, at, 0).mean()) for _, u in found.path[1:]]
    assert values == sorted(values, reverse=True)
    with pytest.raises(StudyError, match="Optimiser 'nelder'"):
        derivative_free(problem, constraints, "nelder", limit=10, draws=2, seed=0)


@pytest.fixture(scope="module")
def expectation(tiny, epidemic_data):
    z = 0.2 * torch.randn(6, tiny.space.dim, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    theta = tiny.space.to_theta(z) | {"red_effect": torch.full((6,), 0.2), "isolation_effect": torch.full((6,), 0.7)}
    people, kinds = tell_apart(tiny.population, epidemic_data, 0)
    return Expectation(WorldSimulator(tiny.short, people, kinds), theta, MONDAYS, batch=3)


def test_contacts_of_a_policy(expectation):
    u = torch.zeros(2, 3)
    u[1, LAYERS.index("school")] = 0.4
    contacts = expectation.contacts(u)["contacts_school"]
    begin = nz.CALENDAR.day_of(date(2022, 2, 21))
    assert (contacts[begin : begin + 7] == 0.6).all()
    assert contacts.sum().item() == pytest.approx(len(contacts) - 7 * 0.4)
    assert (expectation.contacts(u)["contacts_work"] == 1).all()


def test_the_gradient_of_a_policy_is_that_of_its_rates(expectation):
    """Reverse mode through the policy equals reverse mode to daily transmission, summed over the days of a week by hand."""
    at, u = torch.arange(3), torch.full((2, 3), 0.1)
    _, slope = expectation.gradient(u, at, 7)
    days = {name: x.clone().requires_grad_() for name, x in expectation.contacts(u).items()}
    theta = {n: x[at] for n, x in expectation.theta.items()} | expectation.simulator.usual() | days
    out, _ = expectation.simulator.run(theta, 7, torch.arange(3))
    total = out.admissions.sum((1, 2, 3)).mean()
    daily = torch.autograd.grad(total, [days[f"contacts_{layer}"] for layer in LAYERS])
    for week, monday in enumerate(MONDAYS):
        begin = nz.CALENDAR.day_of(monday)
        for layer in range(3):
            expected = -daily[layer][begin : begin + 7].sum()
            torch.testing.assert_close(slope[week, layer], expected)
    assert (slope[:, LAYERS.index("community")] < 0).all()
    assert host_tables(theta, expectation.simulator.base.context).finite.all()


APP = typer.Typer()
APP.command()(command.main)


def run_command(*arguments):
    result = CliRunner().invoke(APP, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return SimpleNamespace(code=result.exit_code, stderr=result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "100"), "A budget of 100 leaves nothing to choose"),
        (("--budget", "1", "--least", "0.1"), "A budget of 1 cannot be met: the lower bounds alone cost 3.6"),
        (("--first", "2021-12-01"), "the simulated days are 2022-01-20 to 2022-06-26"),
        (("--last", "2022-12-01"), "the simulated days are"),
        (("--first", "soon"), "Option first is 'soon'"),
        (("--until", "2022-06-25"), "choose a Sunday not before 2022-05-29"),
        (("--cost", "pubs=1"), "A cost of 'pubs' was given; the layers are school, work, community"),
        (("--cost", "school=much"), "is no number"),
        (("--competitor", "annealing"), "There is no competitor 'annealing'"),
        (("--draws", "1"), "Option draws is 1; give at least 2"),
        (("--device", "tpu"), "Device 'tpu' was asked for"),
        ((), "holds no manifest.json, so no run"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(tmp_path, arguments, message):
    source = tmp_path / "run"
    if arguments:  # dates are those of the run's study
        RunFolder.create(source, "nz_calibration", {"study": "experiments.nz_calibration.study"}, 0)
    done = run_command("--from", source, "--output", tmp_path / "out", *arguments)
    assert done.code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_comparison_by_hand():
    names, weeks = ["nothing", "equal shares", "gradient", "cobyla"], ["2022-02-06"]
    admissions = np.array([[100.0, 120.0], [90.0, 100.0], [70.0, 90.0], [80.0, 95.0]])[..., None]
    data = xr.Dataset(
        {
            "stringency": (("policy", "monday", "layer"), np.full((4, 2, 3), 0.1)),
            "admissions": (("policy", "draw", "week"), admissions),
            "simulations": (("policy",), np.array([0.0, 0.0, 60.0, 80.0])),
            "spent": (("policy",), np.array([0.0, 0.8, 0.8, 0.8])),
            "cost": (("layer",), np.array([1.0, 2.0, 1.0])),
            "curve_policy": (("point",), np.array(["gradient", "gradient", "cobyla", "cobyla"])),
            "curve_simulations": (("point",), np.array([0.0, 60.0, 0.0, 80.0])),
            "curve_admissions": (("point",), np.array([95.0, 80.0, 95.0, 87.5])),
        },
        {"policy": names, "monday": ["a", "b"], "layer": list(LAYERS), "week": weeks, "draw": [0, 1]},
    )
    table = compare(data).set_index("policy")
    assert table.averted["gradient"] == 30
    assert table.spent["gradient"] == pytest.approx(0.8)
    assert table.more_than_gradient["cobyla"] == pytest.approx(7.5)
    assert table.reached["gradient"] == 60
    assert np.isinf(table.reached["cobyla"])
    assert np.isnan(table.reached["equal shares"])


def test_the_check_puts_gradient_and_differences_side_by_side(expectation):
    rows = check_gradient(expectation, draws=3, seeds=2, seed=0, split=date(2022, 3, 6))
    assert [row.period for row in rows] == ["to 2022-03-06", "after 2022-03-06"] * 2
    assert rows[0].cell == "community, week from 2022-02-14"
    assert all(np.isfinite([*row.gradient, *row.difference]).all() for row in rows)
    assert rows[1].gradient[0] < 0
