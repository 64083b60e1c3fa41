import math

import pytest
import torch

from calib import attach_jacobian, forward_attached, forward_jacobian, make_flow, score_function

DAYS = 25


def seir(z):
    """Expected daily cases, deterministic; z [P, 3] -> [P, DAYS]. Bounded rates keep every state positive."""
    beta, gamma, start = 0.9 * torch.sigmoid(z[:, 0]), 0.4 * torch.sigmoid(z[:, 1]), 0.01 * torch.sigmoid(z[:, 2])
    s, e, i, out = 1 - start, start / 2, start / 2, []
    for _ in range(DAYS):
        new, onset, end = s * -torch.expm1(-beta * i), 0.3 * e, gamma * i
        s, e, i = s - new, e + new - onset, i + onset - end
        out.append(1000 * onset)
    return torch.stack(out, -1)


def noisy_seir(z, seed):
    """The same with multiplicative noise of its own for each particle and day, fixed by the seed."""
    shocks = torch.randn(z.shape[0], DAYS, generator=torch.Generator().manual_seed(seed))
    return seir(z) * torch.exp(0.3 * shocks * torch.sigmoid(z[:, :1]))


def elbo_gradient(simulate, flow, seed=2):
    """Gradient of an ELBO estimate in the flow's weights, for a simulator z -> outputs."""
    noise = torch.randn(16, 3, generator=torch.Generator().manual_seed(seed))
    z, log_q = flow.sample_with_log_prob(noise)
    mean = simulate(z)
    log_lik = torch.distributions.Poisson(mean).log_prob(torch.full((DAYS,), 4.0)).sum(-1)
    elbo = (log_lik - 0.5 * (z**2).sum(-1) - log_q).mean()
    return torch.autograd.grad(elbo, list(flow.parameters()), allow_unused=True)


def shaken_flow():
    flow = make_flow("gaussian-nsf", 3, seed=0)
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    return flow


SIMULATORS = {"deterministic": seir, "stochastic": lambda z: noisy_seir(z, seed=11)}


@pytest.mark.parametrize("key", SIMULATORS)
def test_attached_jacobian_gives_the_full_reverse_gradient(key):
    flow, f = shaken_flow(), SIMULATORS[key]
    reverse = elbo_gradient(f, flow)
    attached = elbo_gradient(lambda z: forward_attached(f, z), flow)
    calls = 0
    for a, b in zip(reverse, attached, strict=True):
        if a is not None:
            assert float((a - b).norm() / a.norm()) < 1e-10
            calls += 1
    assert calls > 5


@pytest.mark.parametrize("key", SIMULATORS)
def test_jacobian_against_finite_differences(key):
    f, z, h = SIMULATORS[key], torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), 1e-5
    value, jacobian = forward_jacobian(f, z)
    assert torch.equal(value, f(z))
    for q in range(3):
        step = torch.zeros(3)
        step[q] = h
        torch.testing.assert_close(jacobian[..., q], (f(z + step) - f(z - step)) / (2 * h), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("out", [(), (5,), (2, 5)])
def test_attach_handles_every_shape(batch, out):
    size = math.prod(out)
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(*batch, *out, 3, generator=generator)
    theta = torch.randn(*batch, 3, generator=generator).requires_grad_()
    y = (jacobian.reshape(*batch, size, 3) @ theta.unsqueeze(-1)).reshape((*batch, *out))
    weight = torch.randn((*batch, *out), generator=generator)
    expected = torch.autograd.grad((y * weight).sum(), theta, retain_graph=True)[0]
    attached = attach_jacobian(theta, y, jacobian)
    torch.testing.assert_close(attached, y)
    torch.testing.assert_close(torch.autograd.grad((attached * weight).sum(), theta)[0], expected)


def test_attached_outputs_record_no_simulator_graph():
    z = torch.zeros(2, 3, requires_grad=True)
    y = forward_attached(seir, z)
    assert [type(node[0]).__name__ for node in y.grad_fn.next_functions if node[0]] == ["AccumulateGrad"]


def test_score_function_is_unbiased():
    """E over q = N(m, 1) of z^2 has the derivative 2 m in m, found without differentiating z^2."""
    m = torch.tensor(0.7, requires_grad=True)
    z = (m + torch.randn(40000, 4, generator=torch.Generator().manual_seed(0))).detach()
    log_q = -0.5 * (z - m) ** 2
    each = torch.stack(
        [
            torch.autograd.grad(score_function(row**2, lq).mean(), m, retain_graph=True)[0]
            for row, lq in zip(z[:300], log_q[:300], strict=True)
        ]
    )
    error = each.std() / math.sqrt(len(each))
    assert abs(float(each.mean()) - 1.4) < 4 * float(error)
    plain = (z[:300] ** 2 * (z[:300] - m.detach())).mean(-1)
    assert each.std() < plain.std()  # the baseline pays


def test_score_function_keeps_the_value():
    value = torch.tensor([1.0, 2.0, 6.0])
    torch.testing.assert_close(score_function(value, torch.zeros(3, requires_grad=True)), value)


class _Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: forward_jacobian(lambda z: z.detach() * 2, torch.ones(2, 3)), ValueError, "no forward-mode tangent"),
        (lambda: forward_jacobian(lambda z: z * torch.rand(()), torch.ones(2, 3)), ValueError, "different values"),
        (lambda: attach_jacobian(torch.ones(2, 3), torch.ones(2, 4), torch.ones(2, 4, 2)), ValueError, "do not fit"),
        (lambda: attach_jacobian(torch.ones(2, 3), torch.ones(3, 4), torch.ones(3, 4, 3)), ValueError, "do not fit"),
        (lambda: score_function(torch.ones(1), torch.ones(1)), ValueError, "at least 2 particles"),
        (lambda: forward_jacobian(_Opaque.apply, torch.ones(2, 3)), RuntimeError, "jvp"),
    ],
)
def test_misuse_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
