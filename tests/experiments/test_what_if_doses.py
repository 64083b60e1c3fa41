"""Doses by district and age: who gets one, the gradient of a discrete switch, rules, the command."""

import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from calib._idata import save_inference_data, to_inference_data
from calib._runfolder import RunFolder
from epi.scenarios.allocation.constraints import Constraints
from epi.scenarios.allocation.dose_check import check_doses, directions
from epi.scenarios.allocation.dose_people import who_may
from epi.scenarios.allocation.dose_rules import as_given, oldest_first
from epi.scenarios.allocation.dose_run import DoseRun, summed_hazards, summed_pressure, switched
from epi.scenarios.allocation.doses import Doses
from epi.scenarios.allocation.pooling import pooled
from experiments.what_if import doses as command
from tests.experiments import nz
from tests.experiments.conftest import SCALE, double_precision, make_simulator

GROUPS, KINDS, AGES = 160, 32, 8

DRAWS = 8


@pytest.fixture(scope="module")
def theta(tiny):
    with double_precision():
        return tiny.space.to_theta(0.2 * torch.randn(DRAWS, tiny.space.dim, generator=torch.Generator().manual_seed(4)))


@pytest.fixture(scope="module")
def problem(tiny, theta):
    with double_precision():
        return Doses(tiny.full, who_may(tiny.population, nz.study, 0), theta, batch=4)


def test_in_single_precision_as_on_a_gpu(tiny, epidemic_data, theta, problem):
    single = make_simulator(epidemic_data, tiny.population, tiny.space, nz.LAST_WEEK, torch.float32)
    with double_precision():
        at, share = torch.arange(4), torch.full((20, 8), 0.3)
        found = [p.with_level(11).gradient(share, at, 12) for p in (replace(problem, simulator=single), problem)]
    (mean, slope), (wanted, wanted_slope) = found
    assert mean == pytest.approx(wanted, rel=0.02)
    # infections that single precision decides otherwise change their alternatives with them
    assert float((slope - wanted_slope).abs().sum()) < 0.3 * float(wanted_slope.abs().sum())


@given(st.lists(st.floats(0.0, 1.0), min_size=160, max_size=160))
@settings(max_examples=10, deadline=None)
def test_doses_go_to_those_with_two(tiny, values):
    people, share = who_may(tiny.population, nz.study, 0), torch.tensor(values).reshape(20, 8)
    after = people.given(share)
    kind = after.group // GROUPS
    assert np.array_equal(after.group % GROUPS, tiny.population.group)
    assert np.array_equal(kind > 0, tiny.population.archetype % 4 == 2)
    assert np.array_equal(after.archetype[kind == 0], tiny.population.archetype[kind == 0])
    hosts = people.kind_of_host().numpy()[after.archetype]
    assert np.array_equal(hosts[kind == 1], tiny.population.archetype[kind == 1])
    assert np.array_equal(hosts[kind == 2], KINDS + (tiny.population.group % AGES)[kind == 2])
    count = np.bincount((after.group % GROUPS)[kind == 2], minlength=GROUPS).reshape(20, 8)
    assert np.abs(count - share.numpy() * people.agents).max() < 1 + 1e-6
    more = people.given((share + 0.1).clamp(max=1.0))
    assert (more.group >= after.group).all()  # whoever got one still does


def test_agents_boosted_are_the_share_on_average(tiny):
    people = who_may(tiny.population, nz.study, 0)
    share = torch.full((20, 8), 0.37)
    count = (people.given(share).group // GROUPS == 2).sum()
    assert count == pytest.approx(0.37 * people.agents.sum(), abs=10)
    assert (people.given(torch.ones(20, 8)).group // GROUPS == 2).sum() == people.agents.sum()
    assert (people.given(torch.zeros(20, 8)).group // GROUPS == 2).sum() == 0


def test_without_doses_it_is_the_study(tiny, theta, problem):
    at, nothing = torch.arange(4), torch.zeros(20, 8)
    levelled = problem.with_level(11)
    with torch.no_grad():
        expected = tiny.full.bind(11, torch.arange(4))({n: x[:4] for n, x in theta.items()})
        run = next(problem._runs(nothing, at, 11))
    weekly = torch.einsum(
        "wt,ptra->pwr", tiny.full.observation.week, run.infections.sum(2) * tiny.full.observation.people
    )
    torch.testing.assert_close(weekly, expected["infections_district"])
    torch.testing.assert_close(levelled.weekly(nothing, at, 11).sum(1), expected["admissions_age"].sum(1))
    assert ((levelled.level > 0.7) & (levelled.level < 1.3)).all()


def test_the_pressure_is_found_again():
    s2, s3 = torch.tensor([[0.9, 0.8]]), torch.tensor([[0.4, 0.1]])
    n2, n3, pressure = torch.tensor([100.0, 0.0]), torch.tensor([50.0, 30.0]), torch.tensor([[1.3, 0.7]])
    taken = n2 * -torch.expm1(-s2 * pressure) + n3 * -torch.expm1(-s3 * pressure)
    torch.testing.assert_close(summed_pressure(taken, n2, n3, s2, s3), pressure)
    assert summed_pressure(torch.zeros(1, 1), torch.zeros(1), torch.zeros(1), s2[:, :1], s3[:, :1]).item() == 0


def test_the_hazards_of_periods_add_up():
    """Susceptibility changes from period to period; who escaped one meets the next."""
    s2, s3 = torch.tensor([[[0.9, 0.95, 1.0]]]), torch.tensor([[[0.3, 0.5, 0.7]]])
    n2, n3, pressure = torch.tensor([100.0]), torch.tensor([50.0]), torch.tensor([0.2, 1.1, 0.4])
    left2, left3 = (n * torch.exp(-(s * pressure).cumsum(-1)) for n, s in ((n2, s2), (n3, s3)))
    escaped = torch.cat(((n2 + n3).reshape(1, 1, 1), left2 + left3), -1)
    hazards = summed_hazards(-escaped.diff(dim=-1), n2, n3, s2, s3)
    torch.testing.assert_close(torch.cat(hazards), torch.cat(((s2 * pressure).sum(-1), (s3 * pressure).sum(-1))))


def test_the_switch_is_exact_for_agents_under_a_given_pressure(problem):
    """Everybody meets the same pressure and infects `reach * infectiousness` others: the whole step is known in closed form."""
    people = problem.people
    u = torch.full((20, 8), 0.3)
    s2, s3, r2, r3, rho2, rho3, reach, pressure = 0.9, 0.4, 0.02, 0.005, 1.0, 0.6, 0.03, 1.1
    ill2, ill3 = 1 - math.exp(-s2 * pressure), 1 - math.exp(-s3 * pressure)
    sigma = torch.full((1, KINDS + AGES, 1), s2)
    sigma[:, KINDS:] = s3
    rho = torch.full((1, KINDS + AGES, 1), rho2)
    rho[:, KINDS:] = rho3
    n = torch.as_tensor(people.agents).to(u)
    sick = torch.stack((0 * n, n * (1 - u) * ill2, n * u * ill3))[None, None]  # [P, T or S, C, R, A]
    risk = torch.tensor([0.0, r2, r3]).reshape(1, 1, 3, 1).expand(1, 1, 3, AGES)
    zero = torch.zeros(1, KINDS)
    g_sigma = torch.cat(
        (
            zero,
            (n * (1 - u) * pressure * math.exp(-s2 * pressure) * (r2 + reach * rho2)).reshape(1, -1),
            (n * u * pressure * math.exp(-s3 * pressure) * (r3 + reach * rho3)).reshape(1, -1),
        ),
        1,
    )[..., None]
    g_rho = torch.cat((zero, (reach * sick[0, :, 1]).reshape(1, -1), (reach * sick[0, :, 2]).reshape(1, -1)), 1)[
        ..., None
    ]
    first = torch.full_like(g_sigma, 0.8)  # of which the leaves are factors
    run = DoseRun(sick, torch.zeros(1), sick, risk, sigma, rho, (torch.zeros(1), torch.zeros(1)), first)
    got = switched(run, (g_sigma * first, g_rho), u, people)
    step = ill3 * (r3 + reach * rho3) - ill2 * (r2 + reach * rho2)
    torch.testing.assert_close(got[0], n * step)


@pytest.mark.parametrize(
    "names",
    [("ages 70+", "outside Auckland"), pytest.param(("ages 10-19", "outside Auckland"), marks=pytest.mark.slow)],
)
def test_the_gradient_compared_with_discrete_differences(problem, names):
    cells = [x for x in directions(nz.study) if x[0] in names]
    found = check_doses(problem, base=0.3, size=0.3, draws=8, seeds=3, seed=0, cells=cells)
    rows = {row.cells: row for row in found}
    assert list(rows) == [name for name, _ in cells]
    row = rows["outside Auckland"]
    assert row.difference[0] > 5 * row.difference[1]
    for row in found:
        error = math.hypot(row.gradient[1], row.difference[1])
        assert abs(row.gradient[0] - row.difference[0]) < 3 * error + 0.25 * row.difference[0], row.cells


def test_deaths_may_be_counted_instead(problem):
    u, at = torch.zeros(20, 8), torch.arange(4)
    admitted, died = (replace(problem, target=t).weekly(u, at, 1) for t in ("admissions", "deaths"))
    assert 0 < float(died.sum()) < 0.5 * float(admitted.sum())
    peak = [float(x.sum((0, 2)).argmax()) for x in (admitted, died)]
    assert peak[0] <= peak[1]


def test_pooling_keeps_what_is_sure_and_smooths_what_is_not():
    level, factor = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0.5, 1.0, 1.5, 1.2])[:, None]
    exact, weight = level * factor, torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    torch.testing.assert_close(pooled(exact, torch.zeros(4, 3), weight), exact)
    other = exact + torch.tensor([0.3, -0.3, 0.0])
    torch.testing.assert_close(pooled(other, torch.zeros(4, 3), weight), other)
    generator = torch.Generator().manual_seed(1)
    level, factor = torch.ones(8), 1 + 0.2 * torch.randn(20, 1, generator=generator)
    noisy = level * factor + 0.3 * torch.randn(20, 8, generator=generator)
    smooth = pooled(noisy, torch.full((20, 8), 0.3), torch.ones(20, 8))
    assert ((smooth - level * factor) ** 2).mean() < 0.3 * ((noisy - level * factor) ** 2).mean()
    weight = torch.ones(20, 8)
    weight[:, 0] = 0
    assert torch.isfinite(pooled(noisy.index_fill(1, torch.tensor([0]), 0.0), torch.full((20, 8), 0.3), weight)).all()


def test_rules_without_a_model():
    eligible = torch.tensor([[100.0, 50.0, 10.0], [300.0, 0.0, 30.0]])
    high = torch.where(eligible > 0, 0.8, 0.0)
    constraints = Constraints(torch.zeros(2, 3), high, eligible.clamp_min(1.0), 120.0)
    oldest = oldest_first(constraints)
    torch.testing.assert_close(oldest[:, 1:], high[:, 1:])
    torch.testing.assert_close(oldest[:, 0], torch.full((2,), (120.0 - 32 - 40) / 400))
    given_ = as_given(constraints, torch.tensor([0.1, 0.2, 0.4]))
    assert constraints.spent(given_) == pytest.approx(120.0)
    assert given_[0, 1] == pytest.approx(2 * float(given_[0, 0]))


APP = typer.Typer()
APP.command()(command.main)


def run_command(*arguments):
    result = CliRunner().invoke(APP, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return SimpleNamespace(code=result.exit_code, stdout=result.stdout, stderr=result.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny, theta):
    path = tmp_path_factory.mktemp("doses") / "run"
    with double_precision():
        config = {
            "study": nz.SOURCE,
            "streams": list(nz.DEFAULT),
            "scale": SCALE,
            "balance": 0.5,
            "seed": 0,
            "device": "cpu",
            "particles": 4,
            "smoke": True,
        }
        run = RunFolder.create(path, "nz_calibration", config, 0)
    groups = {"forecast_draws": {name: value.numpy()[None] for name, value in theta.items()}}
    dims = {p.name: [f"{p.name}_entry"] for p in tiny.space.parameters if p.shape}
    save_inference_data(to_inference_data(groups, coords={}, dims=dims), path / "posterior.nc")
    run.update(status="complete")
    return path


SMALL = ("--scale", SCALE, "--draws", "2", "--judges", "4", "--steps", "2")


@pytest.mark.slow
def test_the_command_searches_and_compares(folder, tmp_path):
    out = tmp_path / "out"
    done = run_command("--from", folder, "--output", out, *SMALL, "--competitor", "none")
    assert done.code == 0, done.stderr
    for name in ("doses.nc", "doses.csv", "manifest.json", "figures/doses.png", "figures/doses_cost.png"):
        assert (out / name).stat().st_size > 0, name
    assert "oldest first" in done.stderr
    table = pd.read_csv(out / "doses.csv").set_index("policy")
    assert (table.spent.drop("nothing") <= 200_000 + 1e-3).all()
    assert table.averted["gradient"] > 0
    checked = run_command("--from", folder, *SMALL, "--check", "2")
    assert checked.code == 0
    assert "ages 70+: gradient" in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "1e9"), "A budget of 1,000,000,000 leaves nothing to choose"),
        (("--budget", "10", "--least", "0.1"), "A budget of 10 cannot be met: the lower bounds alone cost"),
        (("--least", "0.9"), "the lower bound not above the upper"),
        (("--most", "1.5"), "give shares from 0 to 1"),
        (("--since", "-3"), "Option since is -3 days"),
        (("--until", "2022-05-28"), "choose a Sunday not before 2022-05-29"),
        (("--until", "then"), "Option until is 'then'"),
        (("--minimise", "cases"), "Option minimise is 'cases'; choose admissions or deaths"),
        (("--competitor", "annealing"), "There is no competitor 'annealing'"),
        (("--draws", "3"), "half to search on and half to judge; choose at most 2 and 4"),
        (("--device", "tpu"), "Device 'tpu' was asked for"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(folder, tmp_path, arguments, message):
    done = run_command("--from", folder, "--output", tmp_path / "out", *SMALL, *arguments)
    assert done.code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_run_without_draws_is_refused(folder, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "posterior.nc").unlink()
    done = run_command("--from", bare, "--output", tmp_path / "out", *SMALL)
    assert done.code == 2
    assert "no posterior.nc and so no posterior draws" in done.stderr
