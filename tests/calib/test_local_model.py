import pytest
import torch

from calib._local_model import LocalModel, Runs


def quadratic(dim, outputs, seed=0):
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(outputs, generator=g), torch.randn(outputs, dim, generator=g)
    c = torch.randn(outputs, dim, dim, generator=g)
    c = c + c.mT
    f = lambda z: a + z @ b.T + 0.5 * torch.einsum("pi,mij,pj->pm", z, c, z)  # noqa: E731
    return f, lambda z: b + torch.einsum("mij,pj->pmi", c, z)


@pytest.mark.parametrize("jacobian", [True, False])
def test_quadratics_are_exact(jacobian):
    f, slope = quadratic(3, 2)
    z = torch.randn(80, 3, generator=torch.Generator().manual_seed(1))
    model = LocalModel(Runs(z, f(z), slope(z) if jacobian else None))
    at = 0.7 * torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    # the ridge of the fits keeps this from rounding error
    torch.testing.assert_close(model(at), f(at), atol=0.03 if jacobian else 1e-3, rtol=1e-2)


def test_runs_are_reproduced():
    z = torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    value = torch.sin(2 * z)
    model = LocalModel(Runs(z, value, None))
    torch.testing.assert_close(model(z), value, atol=1e-6, rtol=0)


def test_error_falls_with_the_number_of_runs():
    f = lambda z: torch.stack([(z[:, 0] * z[:, 1]).sin(), z.exp().sum(1)], 1)  # noqa: E731
    at = 0.8 * torch.randn(200, 2, generator=torch.Generator().manual_seed(2))
    errors = []
    for count in (40, 160, 640):
        z = torch.randn(count, 2, generator=torch.Generator().manual_seed(1))
        errors.append(float((LocalModel(Runs(z, f(z), None))(at) - f(at)).abs().median()))
    assert errors[2] < 0.2 * errors[1] < 0.2 * errors[0]  # third order: each factor is about 8


def test_derivative_is_that_of_the_function():
    f, slope = quadratic(2, 1)
    z = torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    model = LocalModel(Runs(z, f(z), slope(z)))
    at = (0.5 * torch.randn(20, 2, generator=torch.Generator().manual_seed(2))).requires_grad_()
    (found,) = torch.autograd.grad(model(at).sum(), at)
    torch.testing.assert_close(found, slope(at.detach())[:, 0], atol=0.1, rtol=0.1)


def test_one_run_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        LocalModel(Runs(torch.zeros(1, 2), torch.zeros(1, 1), None))


@pytest.mark.parametrize("jacobian", [True, False])
def test_compiled_loops_give_what_tensors_give(jacobian):
    f, slope = quadratic(3, 2)
    z = torch.randn(80, 3, generator=torch.Generator().manual_seed(1))
    model = LocalModel(
        Runs(z, f(z).sin(), slope(z) if jacobian else None), torch.eye(3) + 0.2 * torch.ones(3, 3).tril()
    )
    at = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model(at), model(at.requires_grad_()).detach(), atol=1e-12, rtol=1e-12)
