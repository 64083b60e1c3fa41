"""Indices of test functions against closed forms."""

import numpy as np
import pytest

from calib import (
    Gradients,
    SensitivityError,
    derivative_sensitivity,
    gradient_design,
    sobol_design,
    sobol_indices,
)
from epi.sensitivity.check import bias_sentence
from epi.sensitivity.known_functions import additive_normal, all_functions, ishigami, product_lognormal

FUNCTIONS = all_functions()
ids = [f.name for f in FUNCTIONS]


def gradients(f, count, seed=0, spoil=0):
    design = gradient_design(count, f.dim, np.random.default_rng(seed))
    streams = np.arange(count)
    f1, g1 = f.gradients(design.z, 1000 * seed + 1, streams)
    f2, g2 = f.gradients(design.z, 1000 * seed + 2, streams)
    _, g3 = f.gradients(design.mixed, 1000 * seed + 3, streams)
    g1[:spoil] = np.nan
    return Gradients(g1, g2, g3, f1, f2)


def measure(f, count, seed=0, **options):
    return derivative_sensitivity(gradients(f, count, seed), f.names, np.random.default_rng(seed), **options)


@pytest.mark.parametrize("f", FUNCTIONS, ids=ids)
def test_the_functions_themselves(f):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((7, f.dim))
    eps = 1e-6
    for d in range(f.dim):
        step = np.eye(f.dim)[d] * eps
        np.testing.assert_allclose((f.value(z + step) - f.value(z - step)) / (2 * eps), f.gradient(z)[:, d], atol=1e-5)
    many = rng.standard_normal((100_000, f.dim))
    assert f.value(many).var() == pytest.approx(f.variance, rel=0.06)
    np.testing.assert_allclose((f.gradient(many) ** 2).mean(0), f.nu, rtol=0.12, atol=1e-3)


@pytest.mark.parametrize("f", FUNCTIONS, ids=ids)
def test_gradient_indices_against_closed_forms(f):
    r = measure(f, 4_000, replicates=60)
    slack = 0.03
    bound = f.nu / f.variance
    assert np.all(r.bound.low - slack <= bound)
    assert np.all(bound <= r.bound.high + slack)
    assert np.all(r.share.high >= f.first - slack)
    assert np.all(r.share.low <= f.total + slack)
    assert np.all(r.lower.low <= f.first + slack)
    assert np.all(bound >= f.total - 1e-9)
    low, high = r.explained[1:]
    assert low - 0.05 <= 1 <= high + 0.05
    if f.share is not None:
        assert np.all((r.share.low - slack <= f.share) & (f.share <= r.share.high + slack))
    assert r.noise_variance == pytest.approx((f.noise**2) * f.variance, rel=0.1)
    # one stream alone is far off: its square holds the variance of the noise
    assert np.all(r.single_seed > bound * 0.9)
    noisy = (3 * f.noise) ** 2 * f.nu.mean() / f.variance
    np.testing.assert_allclose(r.single_seed - r.bound.value, noisy, rtol=0.4, atol=0.05)


@pytest.mark.parametrize("f", FUNCTIONS, ids=ids)
def test_sobol_indices_against_closed_forms(f):
    design = sobol_design(1024, f.dim, 0)
    points = design.points()
    flat = points.reshape(-1, f.dim)
    streams = np.arange(len(flat))
    values = np.stack([f.values(flat, r, streams).reshape(points.shape[:2]) for r in (1, 2)], -1)
    s = sobol_indices(values, np.random.default_rng(0), replicates=100)
    np.testing.assert_allclose(s.total.value, f.total, atol=0.06)
    np.testing.assert_allclose(s.first.value, f.first, atol=0.06)
    assert np.mean((s.total.low <= f.total) & (f.total <= s.total.high)) >= 0.6
    noisy = sobol_indices(values[..., :1], np.random.default_rng(0), replicates=20)
    # a single replicate with streams of its own counts chance as if it were effect
    assert np.all(noisy.total.value > s.total.value - 0.01)
    assert design.runs == 1024 * (f.dim + 2)


def test_groups_of_columns_are_moved_together():
    f = additive_normal()
    design = sobol_design(1024, f.dim, 0, [(0,), (1, 2), (3, 4)])
    points = design.points()
    values = f.value(points.reshape(-1, f.dim)).reshape(points.shape[:2])[..., None]
    s = sobol_indices(values, np.random.default_rng(0), replicates=50)
    np.testing.assert_allclose(s.total.value, [9 / 14.25, 5 / 14.25, 0.25 / 14.25], atol=0.03)


def test_intervals_cover():
    f = product_lognormal((0.25, 0.2, 0.1))
    inside = []
    for seed in range(30):
        r = measure(f, 120, seed + 1, replicates=100)
        inside.append((r.share.low <= f.share) & (f.share <= r.share.high))
    assert 0.85 <= np.mean(inside) <= 1.0


def test_correlated_inputs_through_an_affine_flow():
    """f = sum a z with z ~ N(0, L L'): contributions a_d (Sigma a)_d, which add up to the variance."""
    f = additive_normal((1.0, 1.0, 2.0))
    lower = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [0, 0, 0.5]])
    design = gradient_design(1500, 3, np.random.default_rng(1))
    z, mixed = design.z @ lower.T, design.mixed @ lower.T
    g = Gradients(f.gradient(z), f.gradient(z), f.gradient(mixed), f.value(z), f.value(z))
    a = np.array([1.0, 1.0, 2.0])
    expected = a * (lower @ lower.T @ a)
    for flow in ((lower, lower), (np.broadcast_to(lower, (1500, 3, 3)),) * 2):
        r = derivative_sensitivity(g, f.names, np.random.default_rng(0), flow=flow, replicates=50)
        np.testing.assert_allclose(r.share.value, expected / expected.sum(), atol=0.05)
        assert r.explained[0] == pytest.approx(1, abs=0.08)


def test_the_flow_contributions_of_a_curved_function():
    """f = z0 z1 with correlation r: variance 1 + r^2, split evenly."""
    r = 0.6
    lower = np.array([[1.0, 0], [r, np.sqrt(1 - r**2)]])
    design = gradient_design(6_000, 2, np.random.default_rng(1))
    z, mixed = design.z @ lower.T, design.mixed @ lower.T
    value, slope = z.prod(1), z[:, ::-1]
    result = derivative_sensitivity(
        Gradients(slope, slope, mixed[:, ::-1], value, value),
        ("a", "b"),
        np.random.default_rng(0),
        flow=(lower, lower),
        replicates=50,
    )
    assert result.variance == pytest.approx(1 + r**2, rel=0.1)
    np.testing.assert_allclose(result.share.value, 0.5, atol=0.05)


def test_failed_runs_are_dropped_and_counted():
    f = ishigami()
    r = derivative_sensitivity(gradients(f, 400, spoil=7), f.names, np.random.default_rng(0), replicates=20)
    assert (r.draws, r.dropped) == (393, 7)
    design = sobol_design(256, f.dim, 0)
    points = design.points()
    values = f.value(points.reshape(-1, 3)).reshape(points.shape[:2])[..., None].copy()
    values[3, 2] = np.nan
    values[5, 0] = np.nan
    s = sobol_indices(values, np.random.default_rng(0), replicates=20)
    assert s.failed == 2
    np.testing.assert_array_equal(s.draws, [254, 255, 255])


def test_a_flow_that_is_not_finite_at_a_draw_costs_that_draw():
    f = additive_normal((1.0, 1.0, 2.0))
    g = gradients(f, 100)
    here = np.broadcast_to(np.eye(3), (100, 3, 3)).copy()
    here[4, 0, 0] = np.nan
    r = derivative_sensitivity(g, f.names, np.random.default_rng(0), flow=(here, np.eye(3)), replicates=20)
    assert (r.draws, r.dropped) == (99, 1)
    assert np.isfinite([r.share.value, r.share.low, r.share.high]).all()
    with pytest.raises(SensitivityError, match="0 of 100 draws"):
        derivative_sensitivity(g, f.names, np.random.default_rng(0), flow=(np.eye(3) * np.nan, np.eye(3)))


def test_an_input_without_effect_has_zero_and_a_finite_interval():
    f = additive_normal((1.0, 0.0))
    r = derivative_sensitivity(
        Gradients(*(f.gradient(np.zeros((50, 2))),) * 3, *(np.random.default_rng(0).normal(size=50),) * 2),
        f.names, np.random.default_rng(0), replicates=50,
    )  # fmt: skip
    assert r.share.value[1] == r.share.low[1] == r.share.high[1] == 0
    assert np.isfinite([r.share.low, r.share.high, r.bound.high]).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda g: Gradients(g.first[:5], g.second[:5], g.third[:5], g.value_first[:5], g.value_second[:5]), "at least 10"),
        (lambda g: Gradients(g.first * np.nan, g.second, g.third, g.value_first, g.value_second), "0 of 40 draws"),
        (lambda g: Gradients(g.first, g.second, g.third, 0 * g.value_first + 3, 0 * g.value_second + 3), "constant"),
        (lambda g: Gradients(0 * g.first, 0 * g.second, 0 * g.third, g.value_first, g.value_second), "constant"),
        (lambda g: Gradients(g.first[:, :2], g.second, g.third, g.value_first, g.value_second), "shapes"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_words(change, sentence):
    f = additive_normal((1.0, 2.0, 3.0))
    with pytest.raises(SensitivityError, match=sentence):
        derivative_sensitivity(change(gradients(f, 40)), f.names, np.random.default_rng(0))


def test_bad_designs_are_told_in_words():
    with pytest.raises(SensitivityError, match="power of two"):
        sobol_design(100, 3, 0)
    with pytest.raises(SensitivityError, match="outside"):
        sobol_design(16, 3, 0, [(0, 7)])
    with pytest.raises(SensitivityError, match="does not vary"):
        sobol_indices(np.ones((16, 5, 2)), np.random.default_rng(0))
    with pytest.raises(SensitivityError, match="at least 10"):
        sobol_indices(np.full((16, 5, 2), np.nan), np.random.default_rng(0))
    with pytest.raises(SensitivityError, match="at least 10"):
        gradient_design(3, 2, np.random.default_rng(0))
    f = additive_normal()
    with pytest.raises(SensitivityError, match="one for each"):
        derivative_sensitivity(gradients(f, 40), f.names[:2], np.random.default_rng(0))


def test_the_same_seed_gives_the_same_result():
    f = ishigami()
    a, b = measure(f, 60, 3, replicates=20), measure(f, 60, 3, replicates=20)
    np.testing.assert_array_equal(a.share.high, b.share.high)
    np.testing.assert_array_equal(a.path_top, b.path_top)


def test_bias_in_words():
    assert bias_sentence(1.0, 1.0, 100.0) == "agrees; a bias above 3 % is excluded"
    assert bias_sentence(-20.0, 4.0, 100.0) == "biased: 20 % too small, 5.0 standard errors"
    assert bias_sentence(20.0, 4.0, 100.0).startswith("biased: 20 % too large")
    assert bias_sentence(1.0, 10.0, 5.0).startswith("too small to be separated from chance")
    assert bias_sentence(float("nan"), 1.0, 1.0).startswith("could not be compared")
