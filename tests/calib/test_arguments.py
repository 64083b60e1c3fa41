"""Arguments that mean nothing are refused in one sentence before anything is simulated."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from calib import calibrate
from calib._arguments import one_of, positive, whole_number

PRIOR = {"x": Normal(0.0, 1.0)}
GIVEN = {"data": [0.3, 0.1], "likelihood": lambda m: Independent(Normal(m, 0.5), 1), "budget": 200}


def never(theta, seed):
    raise AssertionError("the simulator was called")


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"budget": math.nan}, TypeError, "budget=nan"),
        ({"budget": 1e4}, TypeError, "write 10000"),
        ({"budget": 0}, ValueError, "budget=0"),
        ({"budget": -5}, ValueError, "budget=-5"),
        ({"budget": True}, TypeError, "budget=True"),
        ({"budget": "many"}, TypeError, "budget is a str"),
        ({"gradient": "magic"}, ValueError, "no gradient is called 'magic'"),
        ({"gradient": "revers"}, ValueError, "did you mean 'reverse'"),
        ({"loss_weight": 0}, ValueError, "loss_weight"),
        ({"loss_weight": -1}, ValueError, "loss_weight"),
        ({"loss_weight": math.nan}, ValueError, "loss_weight"),
        ({"loss_weight": math.inf}, ValueError, "loss_weight"),
        ({"loss_weight": "1"}, TypeError, "loss_weight"),
        ({"seed": True}, TypeError, "seed=True"),
        ({"seed": np.bool_(True)}, TypeError, "seed"),
        ({"seed": 1.5}, TypeError, "seed=1.5"),
        ({"seed": None}, TypeError, "seed is a NoneType"),
        ({"seed": torch.tensor([1, 2])}, TypeError, "seed is a Tensor"),
        ({"method": "emulated-scm"}, ValueError, "did you mean 'emulated-smc'"),
        ({"method": "reuse"}, ValueError, "method='reuse' is now called 'emulated-smc'"),
        ({"method": None}, ValueError, "no method is called None"),
        ({"flow": "gausian"}, ValueError, "did you mean 'gaussian'"),
        ({"gradient_cost": 0}, ValueError, "gradient_cost=0"),
        ({"prior": {"x": (0.0, 1.0)}}, TypeError, "prior of 'x' is a tuple"),
        ({"prior": [Normal(0.0, 1.0)]}, TypeError, "prior is a list"),
        ({"prior": {"x/y": Normal(0.0, 1.0)}}, ValueError, "'x/y'"),
        ({"prior": {"": Normal(0.0, 1.0)}}, ValueError, "called ''"),
        ({"prior": {"chain": Normal(0.0, 1.0)}}, ValueError, "called 'chain'"),
        ({"prior": {3: Normal(0.0, 1.0)}}, ValueError, "called 3"),
        ({"prior": {"a\nb": Normal(0.0, 1.0)}}, ValueError, "cannot hold"),
        ({"likelihood": Normal(0.0, 1.0)}, TypeError, "likelihood is a Normal"),
        ({"data": [math.inf, 0.0]}, ValueError, "infinite"),
        ({"data": [math.nan, math.nan]}, ValueError, "no number"),
        ({"data": []}, ValueError, "no number"),
        ({"data": "abc"}, TypeError, "data"),
        ({"data": [[1.0], [1.0, 2.0]]}, TypeError, "data"),
    ],
)
def test_refused_before_anything_is_simulated(arguments, error, match):
    given = {"prior": PRIOR} | GIVEN | arguments
    with pytest.raises(error, match=match) as caught:
        calibrate(never, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [3, np.int64(3), np.uint8(3), torch.tensor(3), np.array(3)])
def test_the_same_seed_in_any_type(seed):
    found = whole_number("seed", seed)
    assert found == 3
    assert type(found) is int


def test_words_and_numbers():
    assert one_of("method", "auto", ("auto", "vi")) == "auto"
    assert positive("loss_weight", np.float32(0.5)) == 0.5
