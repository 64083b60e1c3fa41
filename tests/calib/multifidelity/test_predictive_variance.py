"""Where an emulator is least known, and which points to run next."""

import pytest
import torch

from calib.multifidelity._predictive_variance import PredictiveVariance, _kernel, fit_predictive_variance

RUNS, DIM, POINTS = 30, 12, 80


@pytest.fixture(scope="module")
def known() -> PredictiveVariance:
    """What runs around the origin showed of a quadratic."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(RUNS, DIM, generator=g, dtype=torch.float64)
    residual = torch.stack([x[:, 0] ** 2, x[:, 1] * x[:, 2], x.sum(1)], 1)
    residual = residual + 0.1 * torch.randn(RUNS, 3, generator=g, dtype=torch.float64)
    return fit_predictive_variance(x, residual, torch.ones(DIM, dtype=torch.float64))


def candidates() -> torch.Tensor:
    x = torch.randn(POINTS, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x[7] *= 5  # a corner
    x[8] = 1.01 * x[7]
    return x


def with_runs(known: PredictiveVariance, x: torch.Tensor) -> PredictiveVariance:
    """The same kernel after runs at `x` too, from the definition."""
    points = torch.cat([known.points, x * known.scale])
    bent = points[:, known.curved]
    kernel = _kernel(points @ points.mT, bent @ bent.mT, known.linear, known.quadratic)
    inverse = torch.linalg.inv(kernel + torch.eye(len(points), dtype=torch.float64))
    return PredictiveVariance(points, known.scale, known.curved, known.linear, known.quadratic, inverse, known.factor)


def test_each_point_is_the_least_known_given_those_before(known):
    x = candidates()
    chosen = known.least_known(x, 6).tolist()
    assert len(set(chosen)) == 6
    for number, at in enumerate(chosen):
        left = with_runs(known, x[chosen[:number]])(x)
        left[chosen[:number]] = 0.0
        assert at == int(left.argmax())


def test_a_corner_is_chosen_once(known):
    """Its neighbour is known when it is."""
    chosen = known.least_known(candidates(), 5).tolist()
    assert chosen[0] in (7, 8)
    assert not {7, 8} <= set(chosen)


def test_runs_there_make_the_mean_known(known):
    x = candidates()
    before, after = known(x), with_runs(known, x[known.least_known(x, 20)])(x)
    assert float(after.max() / before.max()) < 0.2


def test_no_more_points_than_there_are(known):
    assert sorted(known.least_known(candidates()[:4], 9).tolist()) == [0, 1, 2, 3]


def test_fewer_features_than_runs_give_the_same_variance():
    """Three coordinates, 60 runs: by ten features instead of sixty runs."""
    g = torch.Generator().manual_seed(4)
    x = torch.randn(60, 3, generator=g, dtype=torch.float64)
    residual = x[:, :2] ** 2 + 0.1 * torch.randn(60, 2, generator=g, dtype=torch.float64)
    known = fit_predictive_variance(x, residual, torch.ones(3, dtype=torch.float64))
    assert known._root is not None
    at = 2 * torch.randn(20, 3, generator=g, dtype=torch.float64)
    y, own = at * known.scale, (at * known.scale)[:, known.curved]
    near = _kernel(y @ known.points.mT, own @ known.points[:, known.curved].mT, known.linear, known.quadratic)
    here = _kernel((y**2).sum(1), (own**2).sum(1), known.linear, known.quadratic)
    wanted = known.factor * (here - ((near @ known.inverse) * near).sum(1))
    torch.testing.assert_close(known(at), wanted, rtol=1e-6, atol=1e-9)
