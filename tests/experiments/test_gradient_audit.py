"""The audit: differences that find known derivatives, a verdict that passes and fails as it must, rows that say why they are empty."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import sim
from experiments.gradient_audit import _truth
from experiments.gradient_audit.__main__ import main
from experiments.gradient_audit._estimates import VARIANTS, Sample, sample
from experiments.gradient_audit._pieces import load_piece, piece_path, save_piece
from experiments.gradient_audit._run import Plan
from experiments.gradient_audit._table import COLUMNS, difference_rows, missing_rows, order, sampled_rows, verdict
from experiments.gradient_audit._world import LEVELS, PARAMETERS, population, rates

Q = len(PARAMETERS)
SLOPES = torch.linspace(-2.0, 3.0, Q, dtype=torch.float64)


def exponential_total(theta, streams):
    """Total whose expectation is 1000 exp(slopes . theta), with luck of 10 % shared by equal streams."""
    luck = torch.stack([torch.randn((), generator=torch.Generator().manual_seed(int(s))) for s in streams])
    return 1000 * torch.exp(theta @ SLOPES) * (1 + 0.1 * luck)


def made_up_truth(agents=50_000):
    return pd.DataFrame(
        {"agents": agents, "level": "middle", "parameter": list(PARAMETERS), "derivative": np.linspace(-500.0, 4_000.0, Q) + 1,
         "standard_error": 10.0, "step": 0.3, "streams": 50, "difference": np.linspace(-500.0, 4_000.0, Q),
         "difference_sd": 400.0, "difference_seconds": 1.0}
    )  # fmt: skip


def test_extrapolated_differences_find_a_known_derivative():
    step = _truth.steps(1000 * SLOPES.numpy(), 1000.0)
    assert (step * np.abs(SLOPES.numpy()) <= 0.3 + 1e-9).all()
    found = _truth.differences(exponential_total, step, wanted=0.01, most=400, batch=40)
    for q in range(Q):
        assert abs(found.value(q) - 1000 * float(SLOPES[q])) < 4 * found.standard_error(q) + 1
        assert found.standard_error(q) < 0.01 * abs(found.value(q))
        assert len(found.small[q]) < 400  # stopped when it was good enough


def test_the_wide_step_alone_would_be_off():
    found = _truth.differences(exponential_total, np.full(Q, 0.3), wanted=0.001, most=80, batch=40)
    wide = found.large[Q - 1].mean() / (1000 * float(SLOPES[-1]))
    assert wide > 1.5
    assert abs(found.value(Q - 1) / (1000 * float(SLOPES[-1])) - 1) < 0.1


def test_rates_are_differentiable_in_every_parameter():
    people = population(2_000, 0)
    theta = torch.zeros(1, Q, requires_grad=True)
    made = rates(people, theta, LEVELS["middle"], days=10)
    made.check(people)
    sum(x.sum() for x in made.tensors()).backward()
    assert (theta.grad != 0).all()


def test_a_truth_belongs_to_its_world_alone():
    people = population(2_000, 0)
    assert _truth.fingerprint(people, "low") == _truth.fingerprint(people, "low")
    assert _truth.fingerprint(people, "low") != _truth.fingerprint(people, "high")
    assert _truth.fingerprint(people, "low") != _truth.fingerprint(
        replace(people, group=people.group[::-1].copy()), "low"
    )


def test_the_verdict_passes_what_is_right_and_fails_what_is_not():
    truth, rng = made_up_truth(), np.random.default_rng(0)
    right = truth["derivative"].to_numpy()
    drawn = Sample(right * (1 + 0.02 * rng.standard_normal((40, Q))), np.full(40, 20_000.0))
    wrong = Sample(1.5 * drawn.gradient, drawn.total)
    rows = sampled_rows("local-score", drawn, truth, 0.4, 1.0, 10.0) + sampled_rows(
        "straight-through", wrong, truth, 0.4, 1.0, 100.0
    )
    judged = verdict(order(pd.DataFrame(rows))).set_index("estimator")
    assert judged.loc["local-score", "bias_met"] == Q
    assert judged.loc["local-score", "noise_met"] == Q
    assert judged.loc["straight-through", "bias_met"] <= 1  # the smallest derivative is hidden by its own error
    assert judged.loc["straight-through", "worst_bias"] == pytest.approx(0.5, abs=0.1)


def test_a_negative_derivative_that_is_too_large_is_a_positive_bias():
    truth = made_up_truth()
    drawn = Sample(1.1 * np.tile(truth["derivative"], (10, 1)), np.full(10, 20_000.0))
    assert all(row["bias"] == pytest.approx(0.1) for row in sampled_rows("x", drawn, truth, 0.4, None, None))


def test_rows_that_were_not_run_say_why():
    plan = Plan((50_000, 500_000), ("low", "middle", "high"), 0, 0.02, 480, 96, 8, 2, False, 5_000, ())
    assert plan.runs("local-score", 500_000, "low") >= 2
    assert plan.runs("straight-through", 50_000, "middle") == 2
    assert plan.runs("straight-through", 50_000, "low") == 0
    why = plan.why_not("straight-through", 500_000, "middle")
    assert "a tape over 60 days of 500,000 agents" in why
    table = order(
        pd.DataFrame(
            missing_rows("straight-through", made_up_truth(), 0.4, why) + difference_rows(made_up_truth(), 0.4, None)
        )
    )
    assert list(table.columns) == COLUMNS
    assert set(table.loc[table["bias"].isna(), "note"]) == {why}
    assert verdict(table)["estimator"].tolist() == ["finite-difference"]


def test_samples_repeat_and_follow_the_seed():
    one, again = (sample(1_000, "middle", "local-score", 3, 2) for _ in range(2))
    assert np.array_equal(one.gradient, again.gradient)
    assert one.gradient.shape == (2, Q)
    assert not np.array_equal(one.total, sample(1_000, "middle", "local-score", 4, 2).total)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--agents", "10"], "at least 500"),
        (["--truth", "nowhere.csv"], "no file nowhere.csv"),
        (["--workers", "0"], "0 workers"),
    ],
)
def test_the_command_says_what_is_wrong_and_writes_nothing(arguments, said, tmp_path, capsys):
    assert main([*arguments, "--output", str(tmp_path / "audit")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "audit").exists()


def test_pieces_come_back_as_they_were(tmp_path):
    path = piece_path(tmp_path, ("truth", 10_000, "low"), (1, 0.02))
    assert load_piece(path) is None
    for value in (Sample(np.eye(2), np.arange(2.0)), {"forward_mib": None, "agents": 3}):
        save_piece(path, value)
        back = load_piece(path)
        assert back == value if isinstance(value, dict) else np.array_equal(back.gradient, value.gradient)
    save_piece(path, made_up_truth())
    assert load_piece(path)["derivative"].tolist() == made_up_truth()["derivative"].tolist()
    assert path != piece_path(tmp_path, ("truth", 10_000, "low"), (2, 0.02))


def test_every_variant_is_one_that_the_simulator_knows():
    assert {v.estimator for v in VARIANTS.values()} <= {"local-score", *sim.ESTIMATORS}
