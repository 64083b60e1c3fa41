"""Data keep their own numbers, must have the shape of the likelihood's event, and may be missing."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Binomial, Independent, LogNormal, MultivariateNormal, Normal, Poisson

from calib import FitError
from calib._observed import Evaluate, as_data
from calib._rows import as_rows
from calib._simulator import Rows

OUTPUTS = torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])


def normal(outputs):
    return Independent(Normal(outputs, 0.5), 1)


@pytest.mark.parametrize(
    "raw",
    [
        [1.5, 2.0, 2.9],
        (1.5, 2.0, 2.9),
        np.array([1.5, 2.0, 2.9], dtype=np.float32),
        torch.tensor([1.5, 2.0, 2.9], dtype=torch.float32),
        pd.Series([1.5, 2.0, 2.9]),
        pd.DataFrame({"cases": [1.5, 2.0, 2.9]}),
        {"a": [1.5, 2.0], "b": 2.9},
        [torch.tensor(1.5), torch.tensor(2.0), torch.tensor(2.9)],
        [[1.5, 2.0, 2.9]],
    ],
)
def test_data_in_any_container(raw):
    wanted = Normal(OUTPUTS, 0.5).log_prob(torch.tensor([1.5, 2.0, 2.9])).sum(-1)
    torch.testing.assert_close(Evaluate(normal, as_data(raw))(OUTPUTS), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("data", "outputs"),
    [
        ([1.0] * 10, torch.ones(4, 1)),
        ([5.0], torch.ones(4, 10)),
        ([1.0, 2.0], torch.ones(2, 3)),
        (5.0, torch.ones(4, 2)),
    ],
)
def test_data_never_broadcast_against_outputs(data, outputs):
    with pytest.raises(ValueError, match="one event of the likelihood has shape"):
        Evaluate(normal, as_data(data))(outputs)


@pytest.mark.parametrize("data", [2.0, [2.0], [[2.0]]])
def test_one_observation_with_and_without_an_axis(data):
    for likelihood in (normal, lambda m: Normal(m[:, 0], 0.5)):
        value = Evaluate(likelihood, as_data(data))(torch.tensor([[1.0], [2.0]]))
        torch.testing.assert_close(value, Normal(torch.tensor([1.0, 2.0]), 0.5).log_prob(torch.tensor(2.0)))


def test_a_batch_that_is_not_one_value_a_row():
    with pytest.raises(ValueError, match="one value a row"):
        Evaluate(lambda m: Normal(m, 0.5), as_data([1.0, 2.0, 3.0]))(OUTPUTS)
    with pytest.raises(TypeError, match="gave a Tensor"):
        Evaluate(lambda m: m, as_data([1.0, 2.0, 3.0]))(OUTPUTS)


@pytest.mark.parametrize(
    "observed_with", [lambda m: Independent(Poisson(m), 1), lambda m: Independent(LogNormal(m, 1.0), 1), normal]
)
def test_missing_data_are_left_out(observed_with):
    data = as_data([2.0, None, 4.0])
    kept = [0, 2]
    wanted = observed_with(OUTPUTS[:, kept]).log_prob(data[kept])
    outputs = OUTPUTS.clone().requires_grad_()
    value = Evaluate(observed_with, data)(outputs)
    torch.testing.assert_close(value, wanted)
    (slope,) = torch.autograd.grad(value.sum(), outputs)
    assert torch.isfinite(slope).all()
    assert (slope[:, 1] == 0).all()


def test_missing_data_of_a_multivariate_normal_are_integrated_out():
    root = torch.tensor([[1.0, 0.0, 0.0], [0.4, 0.9, 0.0], [0.2, 0.5, 0.7]])
    found = Evaluate(lambda m: MultivariateNormal(m, scale_tril=root), as_data([2.0, float("nan"), 4.0]))(OUTPUTS)
    part = (root @ root.T)[[0, 2]][:, [0, 2]]
    wanted = MultivariateNormal(OUTPUTS[:, [0, 2]], part).log_prob(torch.tensor([2.0, 4.0]))
    torch.testing.assert_close(found, wanted)


def test_missing_entries_of_what_has_no_margins_are_refused():
    from torch.distributions import Multinomial

    with pytest.raises(ValueError, match="cannot be left out"):
        Evaluate(lambda m: Multinomial(6, m), as_data([2.0, float("nan"), 4.0]))(OUTPUTS)


@pytest.mark.parametrize("data", [[1.5, 2.0, 3.0], [-1.0, 2.0, 3.0], [-1.0, float("nan"), 3.0]])
def test_data_outside_the_support_are_named(data):
    with pytest.raises(ValueError, match="outside the support"):
        Evaluate(lambda m: Independent(Poisson(m), 1), as_data(data))(OUTPUTS)


def test_modelled_outputs_may_leave_the_range():
    outputs = torch.tensor([[0.2, 0.3, 0.4], [-0.01, 0.3, 0.4]])
    value = Evaluate(lambda p: Independent(Binomial(10, probs=p), 1), as_data([2, 3, 4]))(outputs)
    assert torch.isfinite(value[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a,
        lambda a: a.numpy(),
        lambda a: a.numpy().astype(np.float32),
        lambda a: a.float(),
        lambda a: a.long(),
        lambda a: a > 0,
        lambda a: a.tolist(),
        lambda a: tuple(a),
        lambda a: pd.DataFrame(a.numpy()),
        lambda a: {"one": a[:, 0], "rest": a[:, 1:].numpy()},
    ],
)
def test_outputs_in_any_container(make):
    rows = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    found = as_rows(make(rows), 3)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, rows.double())


@pytest.mark.parametrize(
    "raw",
    [torch.ones(2, 3), torch.ones(3, 2, 2), 1.0, "text", None, {}, [[1.0], [1.0, 2.0], [3.0]], torch.ones(3, 1) * 1j],
)
def test_outputs_that_are_no_rows(raw):
    with pytest.raises((ValueError, TypeError), match="outputs"):
        as_rows(raw, 3)


def test_rows_at_which_a_simulator_raises_are_counted_and_the_others_kept():
    def picky(theta, seed):
        if (theta["x"] > 6).any():
            raise OverflowError("too\nlarge")
        return theta["x"][:, None] * torch.ones(2)

    rows = Rows(picky)
    found = rows({"x": torch.tensor([1.0, 7.0, 2.0, 8.0, 3.0])}, 0)
    assert torch.isnan(found).all(1).tolist() == [False, True, False, True, False]
    assert found[4].tolist() == [3.0, 3.0]
    assert rows.failures == {"OverflowError: too large": 2}
    assert torch.isnan(rows({"x": torch.tensor([7.0])}, 0)).all()


def test_a_simulator_that_raises_everywhere():
    with pytest.raises(FitError, match="KeyError: 'beta'"):
        Rows(lambda theta, seed: theta["beta"])({"x": torch.ones(3)}, 0)
