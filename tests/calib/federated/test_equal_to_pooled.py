"""Sums over sites are what the pooled data give: every method, plain and secure."""

from dataclasses import replace

import pytest
import torch

from calib.multifidelity import EmulatorPosterior, Recorder, identity, prepare, sample, warm_start
from tests.calib.federated.problems import SETTINGS, Bent, federated, pooled

SUMS = ["plain", pytest.param("secure", marks=pytest.mark.filterwarnings("ignore"))]


@pytest.fixture(params=SUMS)
def sums(request):
    if request.param == "secure":
        pytest.importorskip("mpyc")
        pytest.importorskip("cryptography")
    return request.param


@pytest.mark.parametrize("sites", [2, 5])
@pytest.mark.parametrize("family", ["log-normal", "counts"])
def test_gauss_newton_is_that_of_the_pooled_data(sites, family, sums):
    own = pooled(sites, family)
    found, wanted = (warm_start(p, SETTINGS, Recorder()) for p in (federated(own, sums), own))
    sd = wanted.covariance.diagonal().sqrt()
    assert float(((found.z - wanted.z) / sd).abs().max()) < 1e-5
    assert float(((found.covariance - wanted.covariance) / torch.outer(sd, sd)).abs().max()) < 1e-5


@pytest.mark.parametrize("feature_map", [identity, Bent()], ids=["coordinates", "features"])
def test_density_gradient_and_information_are_those_of_the_pooled_data(sums, feature_map):
    own = pooled(3, "counts", feature_map)
    posterior, _, _ = prepare(own, SETTINGS, Recorder())
    apart = federated(own, sums)
    other = EmulatorPosterior(apart, posterior.emulator)
    z = 0.3 * torch.randn(7, own.space.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    errors = posterior.shared_error(z[0])
    assert torch.allclose(other.shared_error(z[0]).loading, errors.loading)
    both = torch.cat(
        [z, torch.randn(7, errors.count, generator=torch.Generator().manual_seed(2), dtype=torch.float64)], 1
    )
    (value, slope), (wanted, expected) = (p.joint(errors).with_slope(both) for p in (other, posterior))
    assert torch.allclose(value, wanted, rtol=1e-12, atol=1e-9)
    assert torch.allclose(slope, expected, rtol=1e-10, atol=1e-9)
    plain, flat = (p.fit_problem().log_likelihood(z, 0, "reverse") for p in (other, posterior))
    assert torch.allclose(plain, flat, rtol=1e-12, atol=1e-9)
    at = (z, posterior.emulator(z), posterior.emulator.jacobian(z))
    assert torch.allclose(apart.observations.information(*at), own.observations.information(*at), rtol=1e-10, atol=1e-9)


def test_flow_and_chains_are_those_of_the_pooled_data():
    own = pooled(3)
    found, wanted = (
        sample(p, SETTINGS).drawn.chains.z[..., : own.space.dim].flatten(0, 1) for p in (federated(own), own)
    )
    sd = wanted.std(0)
    assert float(((found.mean(0) - wanted.mean(0)) / sd).abs().max()) < 0.1
    assert float((found.std(0) / sd).log().abs().max()) < 0.1


def test_the_whole_method_by_secure_sums():
    pytest.importorskip("mpyc")
    pytest.importorskip("cryptography")
    own = replace(pooled(2), people_per_agent=torch.full((16,), 1e4, dtype=torch.float64))
    quick = replace(SETTINGS, chain_draws=4, refinements=0, fit=replace(SETTINGS.fit, max_steps=12))
    apart = federated(own, "secure")
    found = sample(apart, quick)
    assert torch.isfinite(found.drawn.chains.z).all()
    ledger = apart.observations.federation.ledger
    assert {"density", "density: shares", "information", "information: shares", "emulator"} <= set(ledger.rounds)
    assert ledger.total()["bytes"] > 0
