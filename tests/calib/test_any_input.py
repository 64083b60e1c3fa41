"""Whatever is given to the front door, the call ends in a right answer, in a verdict against it, or in one sentence of ours."""

import math
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal

import calib
from calib import calibrate

CONTAINERS = {
    "tensor": lambda a: a,
    "detached": lambda a: a.detach(),
    "float32": lambda a: a.float(),
    "int64": lambda a: a.round().long(),
    "bool": lambda a: a > 0,
    "numpy": lambda a: a.detach().numpy(),
    "list": lambda a: a.tolist(),
    "tuple of rows": lambda a: tuple(a),
    "table": lambda a: pd.DataFrame(a.detach().numpy()),
    "dict": lambda a: {"first": a[:, :1], "rest": a[:, 1:].detach().numpy()} if a.shape[1] > 1 else {"first": a[:, 0]},
    "flat": lambda a: a.flatten(),
    "one row too few": lambda a: a[1:],
    "three axes": lambda a: a[..., None].expand(-1, -1, 2),
    "text": lambda a: "outputs",
    "nothing": lambda a: None,
    "complex": lambda a: a * 1j,
}
DATA = {
    "list": list,
    "tuple": tuple,
    "numpy": np.array,
    "float32": lambda v: np.array(v, dtype=np.float32),
    "tensor": torch.tensor,
    "integers": lambda v: [round(x) for x in v if math.isfinite(x)],
    "series": pd.Series,
    "column": lambda v: pd.DataFrame({"y": v}),
    "dict": lambda v: dict(enumerate(v)),
    "number": lambda v: v[0],
    "None for missing": lambda v: [None if math.isnan(x) else x for x in v],
    "text": str,
}
EXACT = {"tensor", "detached", "float32", "numpy", "list", "tuple of rows", "table", "dict"}  # no number is rounded
NUMBERS = st.sampled_from([0.3, -1.2, 2.9, 1.0, 0.0, 0.7, 2.0, math.nan, math.inf])
FORMS = ["list", "numpy", "tensor", "series", "column", "None for missing"]  # of which more examples than of the others
SEEDS = st.sampled_from([0, 3, np.int32(3), torch.tensor(3), 2**63 - 1, -1, True, 1.5, "3"])
NAMES = st.one_of(st.sampled_from(["x", "R₀", "a b", "x/y", "", "draw"]), st.text(max_size=3))


def assert_sentence(error):
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    assert Path(calib.__file__).parent in Path(last).parents, f"{last}: {error}"
    assert "\n" not in str(error)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    container=st.one_of(
        st.sampled_from(sorted(EXACT)), st.sampled_from(sorted(EXACT)), st.sampled_from(sorted(CONTAINERS))
    ),
    form=st.one_of(st.sampled_from(FORMS), st.sampled_from(sorted(DATA))),
    data=st.lists(NUMBERS, min_size=1, max_size=3),
    wider=st.sampled_from([0, 0, 0, 0, 1]),
    fails=st.sampled_from([None, None, math.nan, math.inf, "raises"]),
    name=st.one_of(st.just("x"), st.just("x"), st.just("x"), NAMES),
    seed=st.one_of(st.just(1), st.just(2), st.just(4), SEEDS),
    gradient=st.sampled_from(["auto"] * 9 + ["score", "reverse", "forward", "magic"]),
    method=st.sampled_from(["auto"] * 6 + ["vi", "smc"]),
    budget=st.sampled_from([120, 160, 200] * 6 + [60, 0, math.nan]),
)
def test_every_call_ends_in_an_answer_or_a_sentence(
    container, form, data, wider, fails, name, seed, gradient, method, budget
):
    width = len(data) + wider

    def simulate(theta, s):
        (x,) = theta.values()
        out = x[:, None] + torch.zeros(width)
        if fails == "raises" and bool((x < -1).any()):
            raise RuntimeError("below\nthe range")
        if fails in (None, "raises"):
            return CONTAINERS[container](out)
        return CONTAINERS[container](torch.where(x[:, None] < -1, fails, out))

    try:
        found = calibrate(
            simulate,
            {name: Normal(0.0, 1.0)},
            DATA[form](data),
            likelihood=lambda m: Independent(Normal(m, 0.5), 1),
            budget=budget,
            seed=seed,
            gradient=gradient,
            method=method,
            flow="gaussian",
        )
    except (TypeError, ValueError) as error:
        assert_sentence(error)
        return
    assert found.verdict.state in ("good", "usable", "poor", "unfinished")
    used = [round(v) if form == "integers" else v for v in data if math.isfinite(v)]
    used = used[:1] if form == "number" else used
    if found.verdict.state in ("good", "usable") and container in EXACT:
        precision = 1 + len(used) / 0.25
        mean, sd = sum(used) / 0.25 / precision, precision**-0.5
        draws = found.sample(2000, seed=1)[name]
        assert abs(float(draws.mean()) - mean) < 0.5 * sd
        assert 1 / 1.5 < float(draws.std()) / sd < 1.5
