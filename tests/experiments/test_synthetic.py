"""Observations from a known truth, and how often a posterior holds it."""

import numpy as np
import pytest
import torch

from calib._noise import derive_seed
from epi.errors import StudyError
from epi.inference import synthetic as _synthetic
from epi.inference.synthetic import TAKEN_OFF, recovery, synthetic_data
from epi.model import variance
from epi.population.build import build_population
from tests.experiments import nz
from tests.experiments.conftest import SCALE, double_precision, make_simulator


@pytest.fixture(scope="module")
def country(tiny, epidemic_data):
    """A larger population, on which the epidemic of the truth is simulated."""
    with double_precision():
        population, _ = build_population(epidemic_data, 4 * SCALE, seed=0)
        return make_simulator(epidemic_data, population, tiny.space, nz.LAST_WEEK)


@pytest.fixture(scope="module")
def drawn(tiny, country):
    with double_precision():
        return {seed: synthetic_data(tiny.full, country, tiny.data, seed) for seed in (1, 2)}


def test_same_seed_same_data_another_seed_another(tiny, country, drawn):
    torch.manual_seed(99)  # nothing depends on the global state
    state = torch.random.get_rng_state()
    z, data = synthetic_data(tiny.full, country, tiny.data, 1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(z, drawn[1][0])
    assert not torch.equal(z, drawn[2][0])
    for stream in nz.STREAMS:
        torch.testing.assert_close(data.counts[stream], drawn[1][1].counts[stream], rtol=0, atol=0, equal_nan=True)
        assert not torch.equal(data.counts[stream].nan_to_num(), drawn[2][1].counts[stream].nan_to_num())


def test_data_look_like_the_data(tiny, drawn):
    for z, data in drawn.values():
        assert z.shape == (tiny.space.dim,)
        assert torch.equal(data.fitted, tiny.data.fitted)
        for stream in nz.STREAMS:
            counts = data.counts[stream]
            assert counts.shape == tiny.data.counts[stream].shape
            assert torch.equal(counts.isnan(), tiny.data.counts[stream].isnan())
            known = counts[~counts.isnan()]
            assert bool((known >= 0).all())
            assert not nz.STREAMS[stream].counts or bool((known == known.round()).all())


@pytest.mark.parametrize("seed", [1, 2])
def test_counts_scatter_around_the_epidemic_of_the_truth_as_the_distribution_says(tiny, country, drawn, seed):
    """The attempt that was kept is found again from its seed, and residuals over their sd have a mean square of 1."""
    z, data = drawn[seed]
    theta = tiny.space.to_theta(z[None])
    squares = []
    for attempt in range(_synthetic.ATTEMPTS):
        generator = torch.Generator().manual_seed(derive_seed(seed, attempt, "synthetic-truth"))
        if torch.equal(torch.randn(1, tiny.space.dim, generator=generator)[0], z):
            break
    stream = derive_seed(seed, attempt, "synthetic-epidemic")
    assert float(tiny.full.bind(stream)(theta)["cases_district"][0, :6].sum()) >= TAKEN_OFF
    expected = country.bind(stream)(theta)
    for name, stream in nz.STREAMS.items():
        mean, observations = expected[name][0], data.counts[name]
        known = ~observations.isnan()
        if not stream.counts:
            squares.append(
                ((observations.log() - mean.log()) / theta[nz.study.dispersion(name)])[known & (mean > 0.05)] ** 2
            )
        else:
            in_likelihood = known & (mean > 20)  # where the distribution is not far from normal
            squares.append(((observations - mean) ** 2 / variance(stream, mean[None], theta)[0])[in_likelihood])
    mean_square = float(torch.cat(squares).mean())
    assert 0.8 < mean_square < 1.25


def test_must_fail_when_no_draw_takes_off(tiny, country, monkeypatch):
    monkeypatch.setattr(_synthetic, "TAKEN_OFF", 10**9)
    monkeypatch.setattr(_synthetic, "ATTEMPTS", 2)
    with pytest.raises(StudyError, match=r"None of 2 prior draws of synthetic seed 5 .* choose another seed"):
        synthetic_data(tiny.full, country, tiny.data, 5)


def posteriors(sharpen, dim=400, draws=2000):
    """Truth and draws of independent normals whose sd is `sharpen` times too small (1: as it should be)."""
    rng = np.random.default_rng(3)
    centre, sd = rng.normal(size=dim), rng.uniform(0.2, 1.0, dim)
    truth = centre + sd * rng.normal(size=dim)
    return truth, centre + sharpen * sd * rng.normal(size=(draws, dim))


def test_recovery_counts_what_an_honest_posterior_holds():
    truth, draws = posteriors(1.0)
    names = tuple(f"p{i}" for i in range(len(truth)))
    found = recovery(names, truth, draws)
    assert found["of"] == 400
    assert found["share"] == found["inside"] / 400 == pytest.approx(0.9, abs=0.04)
    assert found["chance_of_so_few"] > 0.01
    ranks = np.array([row["rank"] for row in found["parameters"]])
    assert np.quantile(ranks, (0.25, 0.5, 0.75)) == pytest.approx([0.25, 0.5, 0.75], abs=0.08)
    row = found["parameters"][7]
    assert row["name"] == "p7"
    assert row["inside"] == (row["low"] <= truth[7] <= row["high"])
    assert sum(r["inside"] for r in found["parameters"]) == found["inside"]


def test_must_fail_for_an_over_confident_posterior():
    truth, draws = posteriors(1 / 3)
    found = recovery(tuple(f"p{i}" for i in range(len(truth))), truth, draws)
    assert found["share"] == pytest.approx(0.416, abs=0.08)  # P(|N(0, 1)| < 1.645 / 3)
    assert found["chance_of_so_few"] < 1e-9


def test_an_unsure_posterior_holds_all():
    truth, draws = posteriors(4.0)
    found = recovery(tuple(f"p{i}" for i in range(len(truth))), truth, draws)
    assert found["share"] > 0.99
    assert found["chance_of_so_few"] == pytest.approx(1.0, abs=1e-3)
