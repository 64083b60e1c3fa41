"""What straight lines miss, learnt from runs: recovered where it is there, left alone where it is not."""

import pytest
import torch

from calib.multifidelity._quadratic_fit import fit_quadratic
from tests.calib.multifidelity.emulators import fit_emulator

D, M, RUNS = 6, 5, 80


@pytest.fixture
def truth():
    """Log outputs `c + s.z + z' H z / 2` with curvature in the two coordinates that move them most."""
    g = torch.Generator().manual_seed(0)
    slope = torch.randn(M, D, generator=g) * torch.tensor([1.0, 0.8, 0.1, 0.1, 0.1, 0.1])
    curve = torch.zeros(M, D, D)
    curve[:, 0, 0], curve[:, 0, 1], curve[:, 1, 0] = 0.3, -0.2, -0.2
    z = torch.randn(RUNS, D, generator=g)

    def log_mean(z):
        return 1 + z @ slope.mT + 0.5 * torch.einsum("sd,mde,se->sm", z, curve, z)

    return slope, z, log_mean, g


def test_quadratic_is_recovered_without_noise(truth):
    slope, z, log_mean, g = truth
    rest = log_mean(z) - z @ slope.mT
    quadratic = fit_quadratic(z, rest - rest.mean(0), slope)
    new = torch.randn(50, D, generator=g)
    expected = log_mean(new) - new @ slope.mT - rest.mean(0)
    assert float((quadratic(new) - expected).abs().max()) < 0.05 * float(expected.std())
    direct = torch.func.vmap(torch.func.jacfwd(quadratic))(new)
    torch.testing.assert_close(quadratic.slope(new), direct)


def test_error_says_how_wrong_it_is_and_grows_away_from_the_runs(truth):
    slope, z, log_mean, g = truth
    noise = 0.1
    rest = log_mean(z) - z @ slope.mT + noise * torch.randn(RUNS, M, generator=g)
    quadratic = fit_quadratic(z, rest - rest.mean(0), slope)
    new = torch.randn(400, D, generator=g)
    wrong = quadratic(new) - (log_mean(new) - new @ slope.mT - rest.mean(0))
    said = quadratic.error(new)
    assert 0.6 < float((wrong / said).square().mean().sqrt()) < 1.6
    assert quadratic.noise.sqrt().mean() == pytest.approx(noise, rel=0.2)
    assert float(quadratic.error(3 * new).mean()) > 2 * float(said.mean())


def test_pure_noise_is_not_taken_for_curvature(truth):
    slope, z, _, g = truth
    rest = 0.1 * torch.randn(RUNS, M, generator=g)
    quadratic = fit_quadratic(z, rest - rest.mean(0), slope)
    assert float(quadratic(torch.randn(200, D, generator=g)).square().mean().sqrt()) < 0.04


def test_local_mean_bends_to_runs_without_jacobians(truth):
    slope, z, log_mean, g = truth
    few = z[:10]
    outputs = log_mean(few).exp()
    jacobian = outputs[..., None] * slope  # the slopes at the origin: right there, wrong further off
    value = log_mean(z).exp()
    straight = fit_emulator(few, outputs, jacobian, floor=1e-6, values=(z, value))
    bent = fit_emulator(few, outputs, jacobian, floor=1e-6, values=(z, value), quadratic=True)
    new = torch.randn(200, D, generator=g)
    wrong = [float((local(new).log() - log_mean(new)).square().mean().sqrt()) for local in (straight, bent)]
    assert wrong[1] < 0.1 * wrong[0]
    step = torch.func.vmap(torch.func.jacfwd(lambda x: bent(x[None])[0]))(new[:3])
    torch.testing.assert_close(bent.jacobian(new[:3]), step)
    assert bent.standard_error_at(new).shape == (200, M)


def slope_at(log_mean, z):
    return torch.func.vmap(torch.func.jacrev(lambda x: log_mean(x[None])[0]))(z)


def test_derivatives_teach_the_curvature_that_few_noisy_runs_do_not(truth):
    slope, z, log_mean, g = truth
    noise, few = 0.3, 30
    rest = log_mean(z[:few]) - z[:few] @ slope.mT + noise * torch.randn(few, M, generator=g)
    effect, new = slope.square().mean(0).sqrt(), torch.randn(300, D, generator=g)
    # chance moves a derivative by a share of what it is
    known = slope_at(log_mean, z[few : few + 12]) - slope + noise * effect * torch.randn(12, M, D, generator=g)
    expected = log_mean(new) - new @ slope.mT
    wrong, said = [], []
    for slopes in (None, (z[few : few + 12], known)):
        quadratic = fit_quadratic(z[:few], rest - rest.mean(0), slope, slopes)
        off = quadratic(new) + rest.mean(0) - expected
        wrong.append(float((off - off.mean(0)).square().mean().sqrt()))
        said.append(float(quadratic.typical_error.mean()))
        direct = torch.func.vmap(torch.func.jacfwd(quadratic))(new[:5])
        torch.testing.assert_close(quadratic.slope(new[:5]), direct)
    assert wrong[1] < 0.6 * wrong[0]
    assert said[1] < said[0]


def test_derivatives_alone_give_the_quadratic_exactly(truth):
    slope, z, log_mean, _ = truth
    rest, at = log_mean(z) - z @ slope.mT, z[:40]
    quadratic = fit_quadratic(z, rest - rest.mean(0), slope, (at, slope_at(log_mean, at) - slope))
    torch.testing.assert_close(quadratic(z) + rest.mean(0), rest, atol=0.02, rtol=0)
    torch.testing.assert_close(quadratic.slope(at), slope_at(log_mean, at) - slope, atol=0.05, rtol=0)


def test_one_wide_coordinate_changes_what_each_place_does_to_its_own_output():
    """How much room the data leave the places, and so where the wide one lies, depends on such products alone."""
    g = torch.Generator().manual_seed(3)
    places, runs, known, noise = 30, 120, 24, 0.1
    line = torch.cat([torch.full((places, 1), 0.5), torch.eye(places)], 1)

    def log_mean(z):
        return z @ line.mT - 0.3 * z[:, :1] * z[:, 1:]

    z, at = (torch.randn(n, places + 1, generator=g) for n in (runs, known))
    rest = log_mean(z) - z @ line.mT + noise * torch.randn(runs, places, generator=g)
    off = slope_at(log_mean, at) - line
    off = off + noise * line * torch.randn(off.shape, generator=g)
    quadratic = fit_quadratic(z, rest - rest.mean(0), line, (at, off))
    ends = torch.zeros(2, places + 1)
    ends[:, 0] = torch.tensor([-1.5, 1.5])
    own = (line + quadratic.slope(ends))[:, torch.arange(places), 1 + torch.arange(places)]
    torch.testing.assert_close(own, (1 - 0.3 * ends[:, :1]).expand_as(own), atol=0.12, rtol=0)
    # the same for a plain posterior: half the log determinant of the information
    change = own.log().sum(1).diff()
    assert float(change) == pytest.approx(places * float(torch.tensor(0.55 / 1.45).log()), rel=0.05)


def test_outputs_that_nobody_wants_keep_their_lines(truth):
    slope, z, log_mean, _ = truth
    rest = log_mean(z) - z @ slope.mT
    wanted = torch.tensor([True, False, True, True, False])
    quadratic = fit_quadratic(z, rest - rest.mean(0), slope, wanted=wanted)
    assert (quadratic.curve.flatten(1).abs().amax(1) > 0).tolist() == wanted.tolist()
    some = fit_quadratic(z, (rest - rest.mean(0))[:, wanted], slope[wanted])
    torch.testing.assert_close(quadratic.of(wanted)(z), some(z))
    assert torch.equal(quadratic(z)[:, ~wanted], torch.zeros(RUNS, 2))


@pytest.mark.parametrize("known", [0, 10])
def test_an_output_that_never_moves_leaves_the_others_alone(truth, known):
    slope, z, log_mean, g = truth
    rest = log_mean(z) - z @ slope.mT + 0.1 * torch.randn(RUNS, M, generator=g)
    rest, line = rest - rest.mean(0), slope.clone()
    off = slope_at(log_mean, z[:known]) - slope if known else torch.zeros(0, M, D)
    rest[:, 2], line[2], off[:, 2] = 0.0, 0.0, 0.0
    others = torch.tensor([True, True, False, True, True])
    found = fit_quadratic(z, rest, line, (z[:known], off) if known else None)
    alone = fit_quadratic(z, rest[:, others], line[others], (z[:known], off[:, others]) if known else None)
    torch.testing.assert_close(found.of(others).predictive.typical, alone.predictive.typical, rtol=0.2, atol=0)
    assert found.curvature == alone.curvature
    assert torch.equal(found(z)[:, 2], torch.zeros(RUNS))
    none = fit_quadratic(z, rest, line, wanted=torch.zeros(M, dtype=torch.bool))
    assert torch.equal(none(z), torch.zeros(RUNS, M))
    assert torch.isfinite(none.error(z)).all()


def test_local_mean_is_the_mean_and_not_the_median(truth):
    slope, z, log_mean, g = truth
    noise = 0.6
    value = (log_mean(z) + noise * torch.randn(RUNS, M, generator=g)).exp()
    outputs = log_mean(z[:10]).exp()
    local = fit_emulator(z[:10], outputs, outputs[..., None] * slope, floor=1e-6, values=(z, value), quadratic=True)
    over = (local(z).log() - log_mean(z)).mean()
    assert float(over) == pytest.approx(noise**2 / 2, abs=0.06)  # E exp(noise x) = exp(noise^2 / 2)


@pytest.mark.parametrize("bent", [False, True, "slopes"])
def test_mean_and_error_in_one_pass_for_some_outputs(truth, bent):
    _, z, log_mean, g = truth
    noisy = (log_mean(z) + 0.1 * torch.randn(RUNS, M, generator=g)).exp()
    jacobian = noisy[:10, :, None] * torch.randn(M, D, generator=g)
    slopes = (z[:10], noisy[:10], jacobian) if bent == "slopes" else None
    local = fit_emulator(
        z[:10], noisy[:10], jacobian, floor=1e-6, values=(z, noisy), quadratic=bool(bent), slopes=slopes
    )
    which, new = torch.tensor([4, 0, 2]), torch.randn(7, D, generator=g).requires_grad_()
    mean, predictive, noise = local.of(which).predict_factors(new)
    found, wanted = (
        (mean, predictive[:, None] * noise),
        (local(new)[:, which], local.standard_error_at(new)[:, which] ** 2),
    )
    weight = torch.randn(7, 3, generator=g)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    slopes = [torch.autograd.grad((weight * (pair[0] + pair[1])).sum(), new)[0] for pair in (found, wanted)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-9)


def test_one_run_is_not_enough():
    with pytest.raises(ValueError, match="1 run was given"):
        fit_quadratic(torch.zeros(1, D), torch.zeros(1, M), torch.ones(M, D))
