"""Simulations kept in a folder: a call that was killed goes on, and comes to what an undisturbed one does."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from calib import CheckpointError, EachDraw, calibrate

PRIOR = {"x": Normal(0.0, 1.0)}
GIVEN = {"data": [0.8, 1.9], "likelihood": lambda m: Independent(Normal(m, 0.5), 1), "budget": 200}


class Killed(BaseException):
    """What a signal raises: no failure of a draw."""


class Curve:
    """A simulator that counts its draws and is killed at one of them."""

    def __init__(self, last=10**9):
        self.draws, self.last = 0, last

    def __call__(self, theta, seed):
        self.draws += len(theta["x"])
        if self.draws > self.last:
            raise Killed
        if float(theta["x"].detach().max()) > 2.0:
            raise ValueError("above the range")
        return theta["x"][:, None] * torch.tensor([1.0, 2.0])


@pytest.mark.parametrize("gradient", ["score", "reverse"])
def test_a_killed_call_goes_on(tmp_path, gradient):
    whole = Curve()
    wanted = calibrate(whole, PRIOR, **GIVEN, gradient=gradient)
    with pytest.raises(Killed):
        calibrate(Curve(last=whole.draws // 2), PRIOR, **GIVEN, gradient=gradient, folder=tmp_path)
    with pytest.raises(CheckpointError, match="resume=True"):
        calibrate(Curve(), PRIOR, **GIVEN, gradient=gradient, folder=tmp_path)
    rest = Curve()
    found = calibrate(rest, PRIOR, **GIVEN, gradient=gradient, folder=tmp_path, resume=True)
    assert rest.draws < 0.8 * whole.draws
    assert found.report["from_folder"] > 0
    assert torch.equal(found.sample(9)["x"], wanted.sample(9)["x"])
    second = Curve()
    calibrate(second, PRIOR, **GIVEN, gradient=gradient, folder=tmp_path, resume=True)
    assert (
        second.draws < 20
    )  # the first look asks for a graph, which no file holds, and is run in halves where a draw raises


def test_tasks_of_workers_are_kept_one_by_one(tmp_path):
    calls = []

    def one(theta, seed):
        calls.append(theta["x"])
        return np.array([theta["x"], 2 * theta["x"]])

    with ThreadPoolExecutor(2) as pool:
        first = calibrate(EachDraw(one), PRIOR, **GIVEN, executor=pool, folder=tmp_path)
        made = len(calls)
        second = calibrate(EachDraw(one), PRIOR, **GIVEN, executor=pool, folder=tmp_path, resume=True)
    assert len(calls) <= made + 4
    assert torch.equal(first.sample(9)["x"], second.sample(9)["x"])


def test_a_damaged_file_is_simulated_again(tmp_path):
    one = calibrate(Curve(), PRIOR, **GIVEN, gradient="score", folder=tmp_path)
    for path in list(tmp_path.glob("*.safetensors"))[:3]:
        path.write_bytes(path.read_bytes()[:20])
    two = calibrate(Curve(), PRIOR, **GIVEN, gradient="score", folder=tmp_path, resume=True)
    assert torch.equal(one.sample(9)["x"], two.sample(9)["x"])


def test_a_folder_of_another_simulator_is_refused(tmp_path):
    calibrate(Curve(), PRIOR, **GIVEN, gradient="score", folder=tmp_path)
    with pytest.raises(CheckpointError, match="another simulator"):
        calibrate(lambda theta, seed: theta["x"], PRIOR, **GIVEN, folder=tmp_path, resume=True)
