import numpy as np
import pytest

from calib._sensitivity import (
    PRIOR_SWING,
    Functional,
    SensitivityError,
    _in_top,
    _rank,
    derivative_measure,
    sensitivity,
    sensitivity_frame,
)

SLOPES = np.array([3.0, -2.0, 1.0, 0.0])
NAMES = ("a", "b[0]", "b[1]", "c")


def linear(z, slopes=SLOPES):
    """f = slopes' z as output 1 of two; output 0 is twice that."""
    return np.broadcast_to(np.stack([2 * slopes, slopes]), (len(z), 2, len(slopes))).copy()


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def functional():
    return Functional("f", np.array([0.0, 1.0]), "people")


def ishigami(x):
    gradient = np.stack(
        [
            np.cos(x[:, 0]) * (1 + 0.1 * x[:, 2] ** 4),
            7 * np.sin(2 * x[:, 1]),
            0.4 * x[:, 2] ** 3 * np.sin(x[:, 0]),
        ],
        axis=-1,
    )
    value = np.sin(x[:, 0]) * (1 + 0.1 * x[:, 2] ** 4) + 7 * np.sin(x[:, 1]) ** 2
    return value, gradient


ISHIGAMI_NU = np.array([0.5 * (1 + 0.2 * np.pi**4 / 5 + 0.01 * np.pi**8 / 9), 24.5, 0.08 * np.pi**6 / 7])


def test_a_linear_model_is_exact(rng, functional):
    z = rng.normal(size=(400, 4))
    (result,) = sensitivity(linear(z), z, NAMES, [functional], rng)
    share = SLOPES**2 / 14
    measures = result.measures
    np.testing.assert_allclose(measures["nu"].value, SLOPES**2)
    for key in ("derivative_share", "prior_share"):
        np.testing.assert_allclose(measures[key].value, share)
        np.testing.assert_allclose(measures[key].low, measures[key].high)  # nothing varies between draws
    np.testing.assert_allclose(measures["posterior_share"].value, share, atol=0.06)
    np.testing.assert_allclose(measures["prior_swing"].value, SLOPES * 2 * 1.6448536269514722)
    np.testing.assert_allclose(measures["posterior_swing"].value, SLOPES * PRIOR_SWING, atol=1)
    np.testing.assert_array_equal(measures["derivative_share"].rank, [1, 2, 3, 4])
    np.testing.assert_allclose(result.elasticity, SLOPES)
    assert result.groups == ("a", "b", "c")
    np.testing.assert_allclose(result.group_measures["prior_share"].value, [9 / 14, 5 / 14, 0])
    assert (result.draws, result.dropped, result.effective_draws) == (400, 0, pytest.approx(400))


def test_posterior_share_of_a_correlated_gaussian(rng, functional):
    covariance = np.array([[1, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 0.04, 0], [0, 0, 0, 1]])
    z = rng.multivariate_normal(np.ones(4), covariance, size=60_000)
    (result,) = sensitivity(linear(z), z, NAMES, [functional], rng, replicates=20)
    contribution = SLOPES * (covariance @ SLOPES)
    expected = contribution / contribution.sum()
    assert expected[1] < 0  # a parameter that offsets another: moving it with its partner narrows the output
    np.testing.assert_allclose(result.measures["posterior_share"].value, expected, atol=0.02)
    assert result.measures["posterior_share"].value.sum() == pytest.approx(1)


def test_intervals_cover_and_ranks_hold(rng, functional):
    inside = []
    for _ in range(60):
        z = rng.normal(size=(80, 4))
        slopes = SLOPES * np.exp(0.4 * rng.normal(size=(80, 4)) - 0.08)  # a mean of exactly SLOPES
        jacobian = np.stack([0 * slopes, slopes], axis=1)
        (result,) = sensitivity(jacobian, z, NAMES, [functional], rng, replicates=200)
        swing = result.measures["prior_swing"]
        truth = SLOPES * PRIOR_SWING
        inside.append(((swing.low <= truth) & (truth <= swing.high))[:3])
    assert 0.88 <= np.mean(inside) <= 0.99


def test_nu_of_ishigami_and_its_bound(rng):
    x = rng.uniform(-np.pi, np.pi, size=(200_000, 3))
    _, gradient = ishigami(x)
    np.testing.assert_allclose(derivative_measure(gradient), ISHIGAMI_NU, rtol=0.02)


def test_two_seeds_remove_the_noise_that_one_adds(rng):
    x = rng.uniform(-np.pi, np.pi, size=(200_000, 3))
    _, gradient = ishigami(x)
    first, second = (gradient + 10 * rng.normal(size=gradient.shape) for _ in range(2))
    np.testing.assert_allclose(derivative_measure(first), ISHIGAMI_NU + 100, rtol=0.02)
    np.testing.assert_allclose(derivative_measure(first, second), ISHIGAMI_NU, atol=1.5)
    f = Functional("f", np.ones(1))
    (result,) = sensitivity(first[:, None], x, ("x1", "x2", "x3"), [f], rng, second=second[:, None], replicates=10)
    np.testing.assert_allclose(result.measures["nu"].value, derivative_measure(first, second))


def test_shares_of_noise_alone_have_no_value():
    """Where derivatives are chance, a product of two seeds is about zero, and shares of it would be any number."""

    def known(seed, signal):
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((24, 4))
        first, second = (signal * linear(z) + 5 * rng.standard_normal((24, 2, 4)) for _ in range(2))
        f = Functional("f", np.array([0.0, 1.0]))
        (result,) = sensitivity(first, z, NAMES, [f], rng, second=second, replicates=200)
        share, groups = result.measures["derivative_share"], result.group_measures["derivative_share"]
        assert np.isfinite(result.measures["nu"].value).all()
        assert np.isfinite(result.measures["prior_share"].value).all()
        assert np.isfinite(share.value).all() == np.isfinite(share.low).all() == np.isfinite(groups.value).all()
        return bool(np.isfinite(share.value).all())

    assert sum(known(seed, 0.0) for seed in range(40)) <= 4  # one in forty by the test's level
    assert all(known(seed, 3.0) for seed in range(10))


def test_bound_exceeds_the_total_index_of_prior_draws(rng):
    # f = z1 + z1 z2: Var = 2, S_T = (1, 1/2); nu = (E(1 + z2)^2, E z1^2) = (2, 1)
    z = rng.normal(size=(100_000, 2))
    jacobian = np.stack([1 + z[:, 1], z[:, 0]], axis=-1)[:, None]
    value = (z[:, 0] + z[:, 0] * z[:, 1])[:, None]
    f = Functional("f", np.ones(1))
    (result,) = sensitivity(jacobian, z, ("z1", "z2"), [f], rng, expected=value, over="prior", replicates=10)
    np.testing.assert_allclose(result.measures["total_effect_bound"].value, [1.0, 0.5], rtol=0.05)
    (local,) = sensitivity(jacobian, z, ("z1", "z2"), [f], rng, expected=value, replicates=10)
    assert "total_effect_bound" not in local.measures  # the Poincare constant 1 is the prior's


def test_importance_weights_carry_the_draws_to_the_prior(rng):
    # draws of N(0.5, 0.8^2), f = z^2 / 2, nu = E[z^2] = 1 under the prior
    z = 0.5 + 0.8 * rng.normal(size=(200_000, 1))
    log_weight = -0.5 * z**2 + 0.5 * ((z - 0.5) / 0.8) ** 2
    f = Functional("f", np.ones(1))
    (result,) = sensitivity(z[:, None], z, ("z",), [f], rng, weights=np.exp(log_weight)[:, 0], replicates=10)
    assert result.measures["nu"].value[0] == pytest.approx(1, rel=0.05)
    assert result.effective_draws < 200_000


def test_rows_that_are_not_finite_are_dropped_and_counted(rng, functional):
    z = rng.normal(size=(50, 4))
    jacobian = linear(z)
    jacobian[3, 0, 2] = np.nan
    z[7, 1] = np.inf
    (result,) = sensitivity(jacobian, z, NAMES, [functional], rng)
    assert (result.draws, result.dropped) == (48, 2)
    np.testing.assert_allclose(result.measures["nu"].value, SLOPES**2)


def test_rank_path_settles(rng, functional):
    z = rng.normal(size=(160, 4))
    noise = rng.normal(size=(160, 1, 4))
    (result,) = sensitivity(linear(z) + noise, z, NAMES, [functional], rng)
    assert result.path_draws == (20, 40, 60, 80, 100, 120, 140, 160)
    np.testing.assert_array_equal(result.path_rank[-1], result.measures["derivative_share"].rank)


def test_frame_has_a_row_for_everything(rng, functional):
    z = rng.normal(size=(50, 4))
    other = Functional("g", np.array([1.0, 0.0]))
    frame = sensitivity_frame(sensitivity(linear(z), z, NAMES, [functional, other], rng, replicates=20))
    assert len(frame) == 2 * (6 * 4 + 3 * 3)
    assert {"output", "parameter", "index", "low", "high", "rank", "elasticity"} <= set(frame.columns)
    row = frame[(frame.output == "g") & (frame.parameter == "a") & (frame.measure == "prior_swing")].iloc[0]
    assert row["elasticity"] == pytest.approx(6)
    assert row["index"] == pytest.approx(6 * PRIOR_SWING)


def test_seed_decides(rng, functional):
    z = rng.normal(size=(50, 4))
    jacobian = linear(z) + rng.normal(size=(50, 2, 4))
    frames = [
        sensitivity_frame(sensitivity(jacobian, z, NAMES, [functional], np.random.default_rng(seed)))
        for seed in (1, 1, 2)
    ]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])


def test_what_cannot_be_answered_is_refused(rng, functional):
    z = rng.normal(size=(50, 4))
    jacobian = linear(z)
    with pytest.raises(SensitivityError, match="does not change with any parameter"):
        sensitivity(jacobian, z, NAMES, [Functional("nothing", np.zeros(2))], rng)
    with pytest.raises(SensitivityError, match="9 effective draws are left of 9"):
        sensitivity(jacobian[:9], z[:9], NAMES, [functional], rng)
    with pytest.raises(SensitivityError, match="effective draws are left of 50"):
        sensitivity(jacobian, z, NAMES, [functional], rng, weights=np.r_[1.0, np.zeros(49)])
    with pytest.raises(SensitivityError, match="5 names were given"):
        sensitivity(jacobian, z, (*NAMES, "d"), [functional], rng)
    with pytest.raises(SensitivityError, match="expected one for each of 2 simulator outputs"):
        sensitivity(jacobian, z, NAMES, [Functional("f", np.ones(3))], rng)
    with pytest.raises(SensitivityError, match="pass the same draws"):
        sensitivity(jacobian, z, NAMES, [functional], rng, second=jacobian[:20])
    with pytest.raises(SensitivityError, match="Weights have shape"):
        sensitivity(jacobian, z, NAMES, [functional], rng, weights=-np.ones(50))


@pytest.mark.parametrize("where", ["expected", "jacobian", "z", "second"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_value_anywhere_costs_one_draw(where, value):
    """The answer is that of the other draws alone, to the last digit of every interval and rank."""
    rng = np.random.default_rng(8)
    z = rng.normal(size=(200, 2))
    jacobian = np.stack([1 + z[:, 1], z[:, 0]], axis=-1)[:, None] + 0.1 * rng.normal(size=(200, 1, 2))
    given = {"jacobian": jacobian, "z": z, "second": jacobian + 0.1 * rng.normal(size=jacobian.shape)}
    given["expected"] = (z[:, 0] + z[:, 0] * z[:, 1])[:, None]
    f = [Functional("f", np.ones(1))]

    def bounds(arrays):
        (result,) = sensitivity(
            arrays["jacobian"], arrays["z"], ("a", "b"), f, np.random.default_rng(1),
            second=arrays["second"], expected=arrays["expected"], over="prior", replicates=50,
        )  # fmt: skip
        return result

    without = bounds({name: x[np.arange(200) != 17] for name, x in given.items()})
    spoilt = {name: x.copy() for name, x in given.items()}
    spoilt[where][17].flat[0] = value
    found = bounds(spoilt)
    assert (found.draws, found.dropped) == (199, 1)
    for measure, index in found.measures.items():
        for field in ("value", "low", "high", "rank", "top_five"):
            np.testing.assert_array_equal(getattr(index, field), getattr(without.measures[measure], field))
    np.testing.assert_array_equal(found.measures["total_effect_bound"].rank, [1, 2])


def test_nothing_finite_or_nothing_that_varies_is_refused(rng, functional):
    z = rng.normal(size=(50, 4))
    jacobian, flat = linear(z), np.ones((50, 2))
    for spoilt in ({"jacobian": jacobian * np.nan}, {"z": z * np.nan}, {"expected": flat * np.nan}):
        given = {"jacobian": jacobian, "z": z, "expected": jacobian @ np.ones(4)} | spoilt
        with pytest.raises(SensitivityError, match="None of 50 draws is finite"):
            sensitivity(
                given["jacobian"], given["z"], NAMES, [functional], rng, expected=given["expected"], over="prior"
            )
    with pytest.raises(SensitivityError, match="does not vary over 50 draws"):
        sensitivity(jacobian, z, NAMES, [functional], rng, expected=flat, over="prior")
    with pytest.raises(SensitivityError, match=r"\[draw, output\] = \(50, 2\)"):
        sensitivity(jacobian, z, NAMES, [functional], rng, expected=flat[:9], over="prior")
    with pytest.raises(SensitivityError, match="weights that are not finite"):
        sensitivity(jacobian, z, NAMES, [Functional("f", np.array([np.nan, 1.0]))], rng)
    jacobian[4, 0, 0] = np.nan
    with pytest.raises(SensitivityError, match="1 of 50 gradients"):
        derivative_measure(jacobian[:, 0])


def test_ranks_of_ties_and_of_missing_values():
    ranks = _rank(np.array([[2.0, -3.0, 2.0, 0.0, np.nan, 0.0], [np.nan] * 6]))
    np.testing.assert_array_equal(ranks, [[2, 1, 2, 4, 7, 4], [7] * 6])
    # three places are left after two: six equal ones share them, a missing value has none
    samples = np.array([[9.0, 8.0, 1, 1, 1, 1, 1, 1, np.nan]])
    np.testing.assert_allclose(_in_top(samples)[0], [1, 1, *[0.5] * 6, 0])
    assert _in_top(np.arange(40.0).reshape(4, 10)).sum(-1).tolist() == [5.0] * 4


def test_parameters_that_do_nothing_share_the_last_rank(rng):
    z = rng.normal(size=(60, 7))
    slopes = np.array([0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    (result,) = sensitivity(linear(z, slopes), z, list("abcdefg"), [Functional("f", np.ones(2))], rng)
    share = result.measures["derivative_share"]
    np.testing.assert_array_equal(share.rank, [3, 1, 3, 2, 3, 3, 3])
    np.testing.assert_allclose(share.top_five, [0.6, 1, 0.6, 1, 0.6, 0.6, 0.6])
