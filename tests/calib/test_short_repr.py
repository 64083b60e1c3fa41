"""What a result prints fits on a screen."""

import pytest
import torch
from torch.distributions import Independent, LogNormal, Normal

from calib import Calibration, calibrate
from calib.multifidelity import Runs
from calib.privacy import StreamInformation

DATA = torch.linspace(1.0, 4.0, 60, dtype=torch.float64)


def line(theta, seed):
    return theta["slope"][:, None] * DATA + 0.0 * theta["idle"].sum(-1, keepdim=True)


def found(budget=300, **more):
    prior = {"slope": LogNormal(0.0, 0.5), "idle": Normal(torch.zeros(30), 1.0)} | more
    return calibrate(
        line,
        prior,
        DATA,
        likelihood=lambda m: Independent(Normal(m, 0.1), 1),
        budget=budget,
        method="vi",
        gradient="score",
    )


@pytest.fixture(scope="module")
def wide():
    return found(1500)


def test_a_calibration_prints_its_verdict_its_parameters_and_what_to_do(wide):
    text = str(wide)
    assert len(text.splitlines()) < 30
    assert f"Verdict: {wide.verdict.state}." in text
    assert "slope" in text
    assert "and 19 more: summary() has all." in text
    assert f"Next: {wide.verdict.advice}" in text
    assert "Linear(" not in text


def test_its_repr_is_one_line(wide):
    assert (
        repr(wide)
        == f"Calibration(vi, 31 parameters, {wide.report['simulations']:,} simulations, {wide.verdict.state})"
    )


def test_whether_the_data_moved_a_parameter_is_said_or_the_column_left_out(wide):
    table = wide.summary(200)
    assert wide.verdict.state not in ("good", "usable")
    assert "moved" not in table
    assert (
        table.attrs["moved"]
        == f"Whether the data moved a parameter cannot be said: the verdict is {wide.verdict.state}."
    )
    assert table.attrs["moved"] in str(wide)


def test_chains_print_what_says_that_they_agree():
    mean = lambda theta, seed: -0.5 * (theta["x"] - 1) ** 2 / 0.01  # noqa: E731
    text = str(calibrate(mean, {"x": Normal(0.0, 1.0)}, method="hmc", gradient="reverse", budget=2000))
    assert "R-hat" in text
    assert "ESS" in text
    assert "moved" in text


def test_a_calibration_that_was_read_prints_too(wide, tmp_path):
    wide.save(tmp_path / "a")
    assert "Verdict:" in str(Calibration.load(tmp_path / "a"))


def test_arrays_and_modules_print_by_their_shape():
    assert (
        repr(StreamInformation(torch.zeros(300, 4), torch.zeros(4)))
        == "StreamInformation(jacobian=Tensor[300, 4], variance=Tensor[4])"
    )
    assert len(repr(Runs(torch.zeros(9, 2), *(torch.zeros(9, 40),) * 4, None))) < 200


@pytest.mark.parametrize("shape", [(60, 1), (30, 2), (1, 1, 60)])
def test_data_of_another_shape_are_refused(shape):
    with pytest.raises(
        ValueError,
        match=rf"the data have shape \({', '.join(map(str, shape))}\), but one event .* shape \(60,\).*reshape\(60,\)\.$",
    ):
        calibrate(line, {"slope": LogNormal(0.0, 0.5), "idle": Normal(torch.zeros(1), 1.0)}, DATA.reshape(shape),
                  likelihood=lambda m: Independent(Normal(m, 0.1), 1), budget=300)  # fmt: skip


def test_one_datum_may_be_a_number():
    one = calibrate(
        lambda theta, seed: theta["x"][:, None],
        {"x": Normal(0.0, 1.0)},
        0.5,
        likelihood=lambda m: Independent(Normal(m, 0.5), 1),
        budget=200,
    )
    assert one.verdict.state == "good"
