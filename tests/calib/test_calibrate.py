import doctest
import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Beta, Exponential, Gamma, HalfCauchy, Independent, LogNormal, Normal, Uniform, Weibull

import calib._calibrate
from calib import Calibration, CheckpointError, Parameter, ParameterSpace, TruncatedNormal, calibrate, make_flow

DESIGN = torch.tensor([[1.0, 0.5], [0.3, -1.0], [0.8, 0.8]], dtype=torch.float64)
DATA = torch.tensor([0.9, -0.4, 0.7], dtype=torch.float64)


def linear(theta, seed):
    return theta["effect"] @ DESIGN.T


def observed_with(outputs):
    return Independent(Normal(outputs, 0.3), 1)


SPACE = ParameterSpace((Parameter("effect", Independent(Normal(torch.zeros(2), 2.0), 1), unit="m", labels=("a", "b")),))


def exact(weight=1.0):
    covariance = torch.linalg.inv(torch.eye(2) / 4 + weight * DESIGN.T @ DESIGN / 0.09)
    return weight * covariance @ DESIGN.T @ DATA / 0.09, covariance


@pytest.fixture(scope="module")
def found():
    torch.set_default_dtype(torch.float64)
    return calibrate(linear, SPACE, DATA, likelihood=observed_with, budget=600, seed=1)


@pytest.mark.parametrize("corrected", [False, True])
def test_linear_gaussian_posterior(found, corrected):
    mean, covariance = exact()
    draws = found.sample(6000, torch.Generator().manual_seed(0), corrected=corrected)["effect"]
    torch.testing.assert_close(draws.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(draws.T.cov(), covariance, atol=0.004, rtol=0.1)
    assert found.report["simulations"] <= 600
    assert found.report["stopped_because"] == "converged"
    assert found.verdict.state == "good"


def test_log_prob_is_the_density_per_unit_of_theta(found):
    mean, covariance = exact()
    theta = torch.tensor([[0.5, 0.4], [0.7, 0.6]])
    wanted = torch.distributions.MultivariateNormal(mean, covariance).log_prob(theta)
    torch.testing.assert_close(found.log_prob({"effect": theta}), wanted, atol=0.15, rtol=0)


@pytest.mark.parametrize("gradient", ["reverse", "forward"])
def test_gradient_paths_agree(gradient):
    found = calibrate(linear, SPACE, DATA, likelihood=observed_with, budget=600, flow="gaussian", gradient=gradient)
    draws = found.sample(6000, torch.Generator().manual_seed(0), corrected=True)["effect"]
    torch.testing.assert_close(draws.mean(0), exact()[0], atol=0.02, rtol=0)
    assert found.report["model_error"] < 1e-6


@pytest.mark.slow
def test_forward_and_reverse_give_the_same_draws():
    draws = [
        calibrate(linear, SPACE, DATA, likelihood=observed_with, budget=500, gradient=path).sample(
            50, torch.Generator().manual_seed(0)
        )
        for path in ("reverse", "forward")
    ]
    torch.testing.assert_close(draws[0]["effect"], draws[1]["effect"], atol=1e-6, rtol=0)


def test_loss_weight_widens():
    mean, covariance = exact(0.25)
    found = calibrate(linear, SPACE, DATA, likelihood=observed_with, budget=600, loss_weight=0.25)
    draws = found.sample(6000, torch.Generator().manual_seed(0), corrected=True)["effect"]
    torch.testing.assert_close(draws.mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(draws.T.cov(), covariance, atol=0.01, rtol=0.12)


@pytest.mark.slow
def test_two_modes_are_kept():
    prior = {"x": Uniform(-3.0, 3.0)}
    found = calibrate(
        lambda theta, seed: theta["x"][:, None] ** 2,
        prior,
        torch.tensor([2.0]),
        likelihood=lambda m: Independent(Normal(m, 0.2), 1),
        gradient="score",
        budget=400,
    )
    x = found.sample(4000, torch.Generator().manual_seed(0), corrected=True)["x"]
    assert abs(float((x > 0).double().mean()) - 0.5) < 0.05
    assert abs(float(x.abs().mean()) - math.sqrt(2)) < 0.02
    assert found.flow.name == "nsf"  # a Gaussian would not do


def test_pyro_model():
    def model(data):
        effect = pyro.sample("effect", dist.Normal(torch.zeros(2), 2.0).to_event(1))
        pyro.sample("y", dist.Normal(effect @ DESIGN.T, 0.3).to_event(1), obs=data)

    found = calibrate(model, data=DATA, budget=600)
    draws = found.sample(6000, torch.Generator().manual_seed(0), corrected=True)["effect"]
    torch.testing.assert_close(draws.mean(0), exact()[0], atol=0.02, rtol=0)


def test_direct_fit_of_a_simulator():
    found = calibrate(linear, SPACE, DATA, likelihood=observed_with, budget=8000, method="vi", seed=2)
    draws = found.sample(6000, torch.Generator().manual_seed(0))["effect"]
    torch.testing.assert_close(draws.mean(0), exact()[0], atol=0.05, rtol=0)
    assert not found.can_correct
    with pytest.raises(ValueError, match="method='emulated-smc'"):
        found.sample(5, torch.Generator(), corrected=True)


@pytest.mark.slow
def test_chance_in_the_simulator_is_said():
    def noisy(theta, seed):
        g = torch.Generator().manual_seed(seed)
        return linear(theta, seed) + 3.0 * torch.randn(len(theta["effect"]), 3, generator=g)

    found = calibrate(
        noisy,
        SPACE,
        DATA,
        likelihood=observed_with,
        gradient="score",
        flow="gaussian",
        budget=300,
        method="emulated-smc",
    )
    assert found.report["weight"] < 1
    assert found.verdict.state == "poor"
    assert "Two runs at the same parameters differ" in str(found.verdict)


def test_saved_and_loaded(found, tmp_path):
    found.save(tmp_path / "c")
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["calibration.json", "calibration.safetensors"]
    assert json.loads((tmp_path / "c" / "calibration.json").read_text())["parameters"][0]["unit"] == "m"
    bare = Calibration.load(tmp_path / "c")
    full = Calibration.load(tmp_path / "c", likelihood=observed_with)
    for second, corrected in ((bare, False), (full, True)):
        one = found.sample(20, torch.Generator().manual_seed(4), corrected=corrected)["effect"]
        two = second.sample(20, torch.Generator().manual_seed(4), corrected=corrected)["effect"]
        torch.testing.assert_close(one, two, atol=0, rtol=0)
    assert bare.verdict == found.verdict
    assert not bare.can_correct
    with pytest.raises(CheckpointError):
        Calibration.load(tmp_path / "nothing")
    whole = (tmp_path / "c" / "calibration.safetensors").read_bytes()
    (tmp_path / "c" / "calibration.safetensors").write_bytes(whole[:-9])
    with pytest.raises(CheckpointError, match="damaged"):
        Calibration.load(tmp_path / "c")


def test_priors_that_cannot_be_written_are_named(tmp_path):
    logit = torch.distributions.TransformedDistribution(Normal(0.0, 1.0), [torch.distributions.SigmoidTransform()])
    found = calibrate(
        lambda t, s: t["p"][:, None], {"p": logit}, torch.tensor([0.4]), likelihood=observed_with, budget=300
    )
    with pytest.raises(ValueError, match="'p'"):
        found.save(tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_arviz_groups(found):
    tree = found.to_arviz(50, corrected=True)
    assert tree["posterior"]["effect"].shape == (1, 50, 2)
    assert list(tree["posterior"]["effect"].coords["effect_entry"].values) == ["a", "b"]
    assert tree["sample_stats"]["log_q"].shape == (1, 50)
    assert tree["observed_data"]["data"].shape == (3,)


def test_a_table_and_a_figure(found):
    table, (mean, covariance) = found.summary(seed=1), exact()
    assert list(table.index) == ["effect[a]", "effect[b]"]
    torch.testing.assert_close(torch.tensor(table["mean"].to_numpy()), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(torch.tensor(table["sd"].to_numpy()), covariance.diagonal().sqrt(), atol=0.0, rtol=0.06)
    torch.testing.assert_close(torch.tensor(table["prior sd"].to_numpy()), torch.full((2,), 2.0), atol=0.0, rtol=0.06)
    assert (table["5 %"] < table["50 %"]).all()
    assert set(table["unit"]) == {"m"}
    assert len(found.plot(200).axes) >= 3


def test_same_seed_same_result():
    one, two = (calibrate(linear, SPACE, DATA, likelihood=observed_with, budget=250, seed=5) for _ in range(2))
    g = [torch.Generator().manual_seed(0) for _ in range(2)]
    assert torch.equal(one.sample(10, g[0])["effect"], two.sample(10, g[1])["effect"])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"budget": 60}, "budget of"),
        ({"budget": 30}, "expected at least 53"),
        ({"data": None}, "without data"),
        ({"likelihood": lambda m: Normal(m, 1.0)}, "one value a row"),
        ({"flow": "nothing"}, "no flow is called"),
        ({"prior": None}, "without a prior"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, match):
    given = {"prior": SPACE, "data": DATA, "likelihood": observed_with, "budget": 300} | arguments
    with pytest.raises(ValueError, match=match):
        calibrate(linear, given.pop("prior"), given.pop("data"), **given)


def test_simulator_that_fails_everywhere():
    with pytest.raises(ValueError, match="finite"):
        calibrate(
            lambda t, s: t["x"][:, None] * math.nan,
            {"x": LogNormal(0.0, 1.0)},
            torch.tensor([1.0]),
            likelihood=observed_with,
        )


def test_simulator_that_fails_on_some_draws():
    def sometimes(theta, seed):
        out = linear(theta, seed)
        return torch.where((theta["effect"][:, :1] < -2).expand_as(out), math.nan, out)

    found = calibrate(sometimes, SPACE, DATA, likelihood=observed_with, budget=600)
    assert found.report["dropped"] > 0
    draws = found.sample(6000, torch.Generator().manual_seed(0), corrected=True)["effect"]
    torch.testing.assert_close(draws.mean(0), exact()[0], atol=0.02, rtol=0)


def test_docstring():
    torch.set_default_dtype(torch.float32)
    assert doctest.testmod(calib._calibrate, extraglobs={"torch": torch}).failed == 0


def test_log_density_outside_the_bounds_of_priors():
    priors = {
        "u": Uniform(0.0, 2.0), "b": Beta(2.0, 3.0), "g": Gamma(2.0, 1.0), "l": LogNormal(0.0, 1.0),
        "h": HalfCauchy(1.0), "w": Weibull(1.0, 2.0), "t": TruncatedNormal(0.0, 1.0, -1.0, 1.0), "e": Exponential(1.0),
    }  # fmt: skip
    space = ParameterSpace(tuple(Parameter(name, prior) for name, prior in priors.items()))
    found = Calibration(space, make_flow("gaussian", space.dim, seed=0), None, None, None, {})
    good = {name: torch.full((3,), 0.5) for name in priors}
    expected = sum(prior.log_prob(torch.tensor(0.5)) for prior in priors.values())
    torch.testing.assert_close(found.log_prob(good), expected.expand(3))
    for name in priors:
        low = -1.0 if name == "t" else 0.0
        for wrong in (
            low,
            low - 1.0,
            math.inf,
            math.nan,
            *([2.0, 3.0] if name == "u" else [1.0] if name in "bt" else []),
        ):
            theta = good | {name: torch.tensor([0.5, wrong, 0.5])}
            value = found.log_prob(theta)
            assert value[1] == -math.inf, (name, wrong)
            torch.testing.assert_close(value[::2], expected.expand(2))
