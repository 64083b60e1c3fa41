"""Simulations by workers: the same draws whatever their number; failures, time-outs and dead workers."""

import doctest
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

import calib._executor
from calib import EachDraw, FitError, calibrate

PRIOR = {"x": Normal(0.0, 1.0), "v": Normal(torch.zeros(2), 1.0)}
DATA = [0.8, 1.9, -0.3]
GIVEN = {"likelihood": lambda m: Independent(Normal(m, 0.5), 1), "budget": 300}


def one(theta, seed):
    assert isinstance(theta["x"], float)
    if theta["x"] > 2.0:
        raise OverflowError("too many")
    return np.array([theta["x"] + theta["v"][0], theta["v"][0] - theta["v"][1], theta["x"]])


def dies(theta, seed):
    os._exit(3)


def slow(theta, seed):
    if theta["x"] > 0.8:
        time.sleep(0.4)
    return one(theta, seed)


def assert_right(found):
    design = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 0.0, 0.0]])
    covariance = torch.linalg.inv(torch.eye(3) + design.T @ design / 0.25)
    mean = covariance @ design.T @ torch.tensor(DATA) / 0.25
    draws = found.space.flatten(found.sample(4000))
    sd = covariance.diagonal().sqrt()
    assert ((draws.mean(0) - mean).abs() < 0.2 * sd).all()
    assert ((draws.std(0) / sd).log().abs() < 0.15).all()


def test_a_process_pool_and_one_draw_at_a_time():
    with ProcessPoolExecutor(2) as pool:
        found = calibrate(EachDraw(one), PRIOR, DATA, **GIVEN, executor=pool)
    assert found.verdict.state in ("good", "usable")
    assert found.report["failures"]["OverflowError: too many"] > 0
    assert found.report["gradient"] == "score"
    assert_right(found)


def test_the_number_of_workers_changes_nothing():
    draws = []
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as pool:
            found = calibrate(EachDraw(one), PRIOR, DATA, **GIVEN, executor=pool, draws_per_task=4)
            draws.append(found.sample(5)["x"])
    assert torch.equal(*draws)


def test_tasks_that_take_too_long_are_counted():
    with ThreadPoolExecutor(4) as pool:
        found = calibrate(EachDraw(slow), PRIOR, DATA, **GIVEN | {"budget": 150}, executor=pool, task_timeout=0.1)
    assert found.report["failures"]["TimeoutError: no answer within 0.1 s"] > 0


def test_a_worker_that_dies():
    with ProcessPoolExecutor(1) as pool, pytest.raises(FitError, match="a worker died"):
        calibrate(EachDraw(dies), PRIOR, DATA, **GIVEN, executor=pool)


def test_what_cannot_be_shared_is_said():
    with ProcessPoolExecutor(1) as pool:
        with pytest.raises(FitError, match="ickle"):
            calibrate(lambda theta, seed: theta["x"], PRIOR, DATA, **GIVEN, executor=pool)
        with pytest.raises(ValueError, match="no derivatives"):
            calibrate(EachDraw(one), PRIOR, DATA, **GIVEN, executor=pool, gradient="reverse")
    with pytest.raises(FitError, match="takes no tasks"):
        calibrate(EachDraw(one), PRIOR, DATA, **GIVEN, executor=pool)


def test_docstring():
    assert doctest.testmod(calib._executor).failed == 0
