"""The audit: exact answers against brute force, differences that find known derivatives, verdicts that fail what is wrong."""

from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

import sim
from experiments.gradient_audit import _assess, _truth, memory
from experiments.gradient_audit.__main__ import main
from experiments.gradient_audit._compute import Plan, compute
from experiments.gradient_audit._rows import Store
from experiments.gradient_audit.estimators import ESTIMATORS, draw_index, sample
from experiments.gradient_audit.exact import enumerate_courses, epidemic, reed_frost
from experiments.gradient_audit.worlds import DEFAULT, WORLDS, chosen
from experiments.gradient_audit.worlds._groups import _grouped, _rates, alone, reed_frost_groups
from experiments.gradient_audit.worlds._households import households
from experiments.gradient_audit.worlds._new_zealand import _rates as nz_rates
from experiments.gradient_audit.worlds._new_zealand import population
from experiments.gradient_audit.worlds._seven import seven

# ---- exact answers


def by_hand(members, pair, seed):
    """Expected size of a group by writing out who infects whom: each ordered pair has one contact, made or not."""
    p, q = 1 - np.exp(-seed), 1 - np.exp(-pair)
    total, pairs = 0.0, [(a, b) for a in range(members) for b in range(members) if a != b]
    for first in product((0, 1), repeat=members):
        for made in product((0, 1), repeat=len(pairs)):
            infected = {i for i in range(members) if first[i]}
            while more := {
                b for (a, b), m in zip(pairs, made, strict=True) if m and a in infected and b not in infected
            }:
                infected |= more
            chance = np.prod([p if x else 1 - p for x in first]) * np.prod([q if x else 1 - q for x in made])
            total += chance * len(infected)
    return total


@pytest.mark.parametrize("members", [2, 3])
def test_reed_frost_by_recursion_is_what_all_contacts_written_out_give(members):
    pair, seed, e = 0.7, 0.2, 1e-4
    found = reed_frost(members, pair, seed)
    assert found.expectation[0] == pytest.approx(by_hand(members, pair, seed), rel=1e-12)
    slopes = [
        (by_hand(members, pair * np.exp(e), seed) - by_hand(members, pair * np.exp(-e), seed)) / (2 * e),
        (by_hand(members, pair, seed * np.exp(e)) - by_hand(members, pair, seed * np.exp(-e))) / (2 * e),
    ]
    assert found.derivative[0] == pytest.approx(slopes, rel=1e-6)


@pytest.mark.parametrize(("members", "reach"), [(2, 0.5), (2, 4.0), (3, 1.5)])
def test_enumeration_of_courses_gives_the_same_as_the_recursion(members, reach):
    days, seed = 2 * members + 2, 0.2
    group, total = _grouped(members, 1), torch.ones(days, 1, dtype=torch.float64)
    found = enumerate_courses(group, partial(_rates, reach, seed, days), 2, [total], range(0, days, 2))
    wanted = reed_frost(members, reach / (members - 1), seed)
    assert found.expectation == pytest.approx(wanted.expectation, rel=1e-12)
    assert found.derivative == pytest.approx(wanted.derivative, rel=1e-10)


def test_enumeration_says_when_days_are_missing():
    days = [torch.ones(6, 1, dtype=torch.float64)]
    with pytest.raises(ValueError, match="sum to 0"):
        enumerate_courses(_grouped(2, 1), partial(_rates, 1.0, 0.2, 6), 2, days, range(1))


def test_a_large_group_with_certain_spread_is_infected_whole_or_not_at_all():
    found = reed_frost(12, 50.0, 0.01)
    assert found.expectation[0] == pytest.approx(12 * -np.expm1(-12 * 0.01), rel=1e-9)
    assert found.derivative[0, 1] == pytest.approx(12 * 12 * 0.01 * np.exp(-12 * 0.01), rel=1e-9)


@pytest.mark.parametrize("reinfection", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_simulator_runs_the_epidemic_that_is_enumerated(reinfection):
    world = seven(reinfection, active=3)
    exact, runs = world.exact(), 20_000
    theta = torch.zeros(runs, len(world.parameters), dtype=torch.float64)
    x = torch.einsum("ptg,otg->po", sim.epidemic(world.people, world.rates(theta), 1), world.weights(theta)).numpy()
    z = (x.mean(0) - exact.expectation) / (x.std(0) / runs**0.5)
    assert np.abs(z).max() < 4


@pytest.mark.parametrize("reinfection", [pytest.param(False, marks=pytest.mark.slow), True])
def test_enumerated_derivatives_are_differences_of_enumerated_expectations(reinfection):
    world, e = seven(reinfection, active=2), 1e-4
    Q, weights = len(world.parameters), list(world.outcomes.values())
    days = range(len(weights[0]) - 2, len(weights[0]))

    def at(q, shift):
        move = shift * torch.eye(Q, dtype=torch.float64)[q]
        return enumerate_courses(world.people, lambda theta: world.rates(theta + move), Q, weights, days).expectation

    found = world.exact().derivative
    for q in (0, 2, 8, Q - 1):
        assert found[:, q] == pytest.approx((at(q, e) - at(q, -e)) / (2 * e), rel=1e-5, abs=1e-9)


def test_every_part_of_the_seven_agents_counts():
    world = seven(True, active=4)
    assert (np.abs(world.exact().derivative[0]) > 1e-3).all()
    assert len(set(world.people.region_of_group[world.people.group[4:7]])) == 2  # one household in two districts


def test_plain_epidemic_and_simulator_agree_with_the_same_hazards():
    """The audit's own epidemic, fed with the infections of the simulator, never infects where the simulator could not."""
    world = households(5)
    rates = world.rates(torch.zeros(1, 4, dtype=torch.float64))
    hazards = []
    epidemic(world.people, rates, 1, lambda day, hazard: hazards.append(hazard) or torch.zeros_like(hazard))
    nobody_infected = -torch.expm1(-torch.stack(hazards))
    outside = rates.susceptibility[0, torch.as_tensor(world.people.archetype).long()] * 0.03
    assert torch.allclose(nobody_infected[0, 0], -torch.expm1(-outside))


# ---- differences

SLOPES = np.array([[-2.0, 0.5, 3.0], [1.0, -1.0, 2.0]])


def made_up(theta, streams):
    """Two outcomes whose expectation is 1000 exp(slopes . theta), with noise of 10 % shared by equal streams."""
    noise = np.array([np.random.default_rng(int(s)).standard_normal() for s in streams])
    return 1000 * np.exp(theta.numpy() @ SLOPES.T) * (1 + 0.1 * noise[:, None])


def test_extrapolated_differences_find_a_known_derivative():
    for q in range(3):
        step = min(0.15 / abs(SLOPES[0, q]), 0.3)
        found = _truth.differences(made_up, 3, q, step, wanted=0.01, most=400, batch=40)
        assert (np.abs(found.value - 1000 * SLOPES[:, q]) < 4 * found.standard_error + 1).all()
        assert found.standard_error[0] < 0.01 * abs(found.value[0])
        assert len(found.small) < 400  # stopped when it was good enough


def test_the_wide_step_alone_would_be_off():
    found = _truth.differences(made_up, 3, 2, 0.3, wanted=0.001, most=80, batch=40)
    assert found.large.mean(0)[0] / 3000 > 1.5
    assert abs(found.value[0] / 3000 - 1) < 0.1


def test_differences_find_the_exact_derivative_of_an_epidemic():
    world = households()
    exact = world.exact()
    run, batch = _truth.simulate(world, 5, "cpu")
    for q in (0, 1):
        found = _truth.differences(run, 4, q, 0.2, wanted=0.01, most=2_000, batch=batch)
        assert (np.abs(found.value - exact.derivative[:, q]) < 4 * found.standard_error).all()


# ---- estimators


def judged(world, estimator, runs, seed=3):
    """Verdicts, biases and errors of an estimator, `[O, Q]` flat."""
    drawn, exact = sample(world, estimator, seed, runs), world.exact().derivative
    bias = 100 * (drawn.gradient.mean(0) / exact - 1)
    error = 100 * drawn.gradient.std(0, ddof=1) / runs**0.5 / np.abs(exact)
    return (
        [_assess.verdict(b, e) for b, e in zip(bias.ravel(), error.ravel(), strict=True)],
        bias.ravel(),
        error.ravel(),
    )


def test_stochastic_triples_are_unbiased_with_everything_switched_on():
    _, bias, error = judged(seven(False, active=4), "stochastic-triples", 6_000)
    assert (np.abs(bias) < 4 * error).all()
    assert np.sqrt(np.mean((bias / error) ** 2)) < 1.5


@pytest.mark.parametrize("estimator", ["straight-through", "gumbel-hard", "gumbel-soft", "categorical"])
def test_known_biased_estimators_fail(estimator):
    verdicts, _, _ = judged(reed_frost_groups(6, 1.5, 0.01), estimator, 60)
    assert verdicts == ["fail", "fail"]


def test_the_local_score_fails_where_one_case_decides_and_passes_in_households():
    verdicts, bias, _ = judged(reed_frost_groups(6, 1.5, 0.01), "local-score", 400)
    assert verdicts == ["fail", "fail"]
    assert (bias < -8).all()
    assert "fail" not in judged(households(), "local-score", 400)[0]


@pytest.mark.parametrize(("world", "runs"), [(reed_frost_groups(6, 1.5, 0.01), 400), (seven(False, active=4), 2_000)])
def test_removals_are_unbiased_where_one_case_decides(world, runs):
    _, bias, error = judged(world, "removals", runs)
    assert (np.abs(bias) < 4 * error).all()


def test_straight_through_is_exact_for_people_alone():
    assert judged(alone(), "straight-through", 20)[0] == ["pass"]


def test_the_score_function_is_undecided_rather_than_passed_by_its_noise():
    assert judged(alone(), "score-function", 20)[0] == ["undecided"]


def test_the_categorical_gradient_through_a_softmax_is_zero_in_expectation():
    logits = torch.tensor([0.3, -0.5, 0.9, 0.0], dtype=torch.float64).expand(200_000, 4).clone().requires_grad_()
    u = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = torch.softmax(logits, -1)
    index = draw_index(p, u)
    assert torch.bincount(index.long(), minlength=4) / 2e5 == pytest.approx(p[0].detach(), abs=0.01)
    index.sum().backward()
    one, k = logits.grad, torch.arange(4)
    truth = p[0] * (k - (p[0] * k).sum())  # of the expected index
    assert truth.abs().min() > 0.05
    assert one.abs().max() > 0.1  # single gradients are not zero
    assert (one.mean(0).abs() < 4 * one.std(0) / len(one) ** 0.5).all()


def test_with_two_kinds_every_single_categorical_gradient_is_zero():
    logits = torch.randn(500, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    u = torch.rand(500, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    draw_index(torch.softmax(logits, -1), u).sum().backward()
    assert logits.grad.abs().max() < 1e-12


def test_samples_repeat_and_follow_the_seed():
    world = households(5)
    for estimator in ("local-score", "differences", "stochastic-triples"):
        one, second, other = (sample(world, estimator, seed, 3) for seed in (3, 3, 4))
        assert np.array_equal(one.gradient, second.gradient)
        assert one.gradient.shape == (3, 2, 4)
        assert not np.array_equal(one.outcome, other.outcome)


# ---- worlds

FEW = ["alone", "reed-frost-n12-reach4-seed0.001", "households", "seven-reinfection", "measles", "seeded-district"]


def test_rates_are_differentiable_in_every_parameter_of_new_zealand():
    people = population(2_000)
    theta = torch.zeros(1, 14, dtype=torch.float64, requires_grad=True)
    made = nz_rates(people, 1.0, 3e-5, 60, theta)
    made.check(people)
    sum(x.sum() for x in made.tensors()).backward()
    assert (theta.grad != 0).all()


@pytest.mark.parametrize("name", FEW)
def test_worlds_fit_together(name):
    world = WORLDS[name]()
    theta = torch.zeros(2, len(world.parameters), dtype=torch.float64, requires_grad=True)
    rates = world.rates(theta)
    rates.check(world.people)
    assert rates.days == world.days
    assert world.fingerprint() == WORLDS[name]().fingerprint()
    sum((x * torch.arange(1, x.numel() + 1).reshape(x.shape)).sum() for x in rates.tensors()).backward()
    assert (theta.grad != 0).all()


def test_a_fingerprint_belongs_to_its_world_alone():
    marks = [reed_frost_groups(6, reach, seed).fingerprint() for reach in (0.5, 1.5) for seed in (0.01, 0.001)]
    assert len(set(marks)) == 4


def test_worlds_are_chosen_by_the_beginning_of_their_names():
    assert len(chosen(("reed-frost",))) == 36
    assert chosen(("seven", "alone")) == ("alone", "seven")
    assert chosen(("sev", "alone")) == ("alone", "seven", "seven-reinfection")
    assert "country" not in DEFAULT
    with pytest.raises(ValueError, match="Found --worlds mars"):
        chosen(("mars",))


# ---- tables and command


def rows(gradient, error=1.0, derivative=100.0, of_truth=0.0):
    key = {"world": "w", "fingerprint": "f", "outcome": "total", "parameter": "p"}
    runs = {**key, "estimator": "e", "agents": 5, "expectation": 1.0, "runs": 4, "gradient": gradient, "standard_error": error,
            "sd": 2.0, "cost": 3.0, "seconds": 1.0, "seed": 0, "commit": "c", "date": "d", "hardware": "h"}  # fmt: skip
    truth = {**key, "derivative": derivative, "standard_error": of_truth}
    return _assess.assess(pd.DataFrame([runs]), pd.DataFrame([truth])).iloc[0]


def test_verdicts():
    assert rows(101.9, error=0.1)["verdict"] == "pass"  # within 2 %
    assert rows(102.1, error=0.1)["verdict"] == "fail"
    assert rows(105.0, error=3.0)["verdict"] == "pass"  # within two errors
    assert rows(107.0, error=3.0)["verdict"] == "fail"
    assert rows(105.0, error=6.0)["verdict"] == "undecided"
    assert rows(105.0, error=0.1, of_truth=3.0)["verdict"] == "pass"  # the truth's own error counts
    assert rows(1.0, derivative=0.0)["verdict"] == "undecided"


def test_a_negative_derivative_that_is_too_large_is_a_positive_bias():
    assert rows(-110.0, derivative=-100.0)["bias"] == pytest.approx(10.0)


def test_the_summary_counts_what_chance_alone_would_fail():
    one = rows(100.0, error=1.5)
    many = pd.DataFrame([one] * 100)
    summary = _assess.summarize(many).iloc[0]
    assert (summary["pass"], summary["rows"]) == (100, 100)
    assert summary["by_chance"] == pytest.approx(4.55, abs=0.01)


def test_the_identity_of_truths_is_checked():
    parts = {"household": 1.0, "school": 2.0, "work": 3.0, "community": 4.0, "importation": 5.0}
    truth = pd.DataFrame(
        {"world": "w", "outcome": "total", "parameter": [*parts, "susceptibility"], "derivative": [*parts.values(), 16.5],
         "standard_error": 0.1}
    )  # fmt: skip
    found = _assess.check_truth(truth).iloc[0]
    assert found["difference"] == pytest.approx(10.0)
    assert found["error"] == pytest.approx(100 * 0.1 * 6**0.5 / 15)


def test_the_short_command_writes_its_tables_and_takes_up_what_is_there(tmp_path, capsys):
    arguments = ["--short", "--worlds", "alone", "households", "--seeds", "40", "--output", str(tmp_path)]
    assert main([*arguments, "--estimators", "local-score", "categorical"]) == 0
    printed = capsys.readouterr().out
    assert "households" in printed
    assert "undecided" in printed
    assert {x.name for x in tmp_path.iterdir()} == {"truth.csv", "runs.csv", "table.csv", "audit.json", "worlds.png"}
    before = (tmp_path / "runs.csv").read_text()
    store = Store(tmp_path)
    assert main([*arguments, "--no-plots", "--estimators", "local-score", "categorical", "straight-through"]) == 0
    after = pd.read_csv(tmp_path / "runs.csv")
    assert before.strip() in (tmp_path / "runs.csv").read_text()  # earlier rows were not computed anew
    assert set(after["estimator"]) == {"local-score", "categorical", "straight-through"}
    lacking = []
    compute(Plan(("alone",), ("local-score",), seeds=40), store, 1, lambda what, done, of: lacking.append(of))
    assert lacking == [0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--worlds", "mars"], "Found --worlds mars"),
        (["--workers", "0"], "Found --workers 0"),
        (["--seeds", "1"], "Found --seeds 1"),
        (["--no-compute"], "Found no rows"),
    ],
)
def test_the_command_says_what_is_wrong_and_writes_nothing(arguments, said, tmp_path, capsys):
    assert main([*arguments, "--output", str(tmp_path / "audit")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "audit").exists()


def test_a_table_of_another_kind_is_refused(tmp_path, capsys):
    (tmp_path / "runs.csv").write_text("a,b\n1,2\n")
    assert main(["--no-compute", "--output", str(tmp_path)]) == 2
    assert "without the columns" in capsys.readouterr().err


def test_every_estimator_runs_somewhere():
    assert {"removals", "local-score", "differences", "stochastic-triples", "categorical"} <= set(ESTIMATORS)


def test_memory_of_the_local_score_is_measured(tmp_path):
    if not memory._CLEAR.exists():
        pytest.skip("only Linux tells its peak memory")
    few, many = (memory.peak_memory("local-score", 2_000, days) for days in (20, 80))
    assert few["days"] == 20
    assert many["result_mib"] > few["result_mib"]
    assert many["mib"] < 60
    table = pd.DataFrame([few, many]).assign(method="local-score")
    assert len(memory.plot_memory(table).axes[0].lines) == 2
