"""What the kernel must do on any device: run on a GPU, and on the CPU in triton's interpreter, by `test_kernel`."""

import pytest
import torch
from torch.func import grad, jacfwd, jacrev, jvp, vmap

import ode

AGES = (5.0, 35.0, 78.0)
NAMES = [prior.name for prior in ode.PRIORS]


class Checks:
    """The checks on a device in a floating type, for courses of some days."""

    def __init__(self, device, dtype, days, step):
        self.device, self.dtype, self.days, self.step = device, dtype, days, step
        self.hosts = ode.archetypes_by_age_and_dose(age_midpoints=AGES).to(device, dtype)
        double = dtype == torch.float64
        self.near = {"rtol": 1e-9, "atol": 1e-10} if double else {"rtol": 1e-3, "atol": 1e-4}

    def scores(self, *shape, seed=0):
        z = torch.randn(*shape, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return z.to(self.device, self.dtype)

    def course(self, theta, solver):
        values = {p.name: p.quantile(theta[..., i]) for i, p in enumerate(ode.PRIORS)}
        parameters = ode.WithinHostParameters(**values)
        return parameters, ode.within_host(parameters, self.hosts, days=self.days, step=self.step, solver=solver)

    def tables(self, solver):
        """From scores `[..., 7]` to all that the population model takes, `[..., K, 3 D + 2]`."""

        def of(theta):
            parameters, course = self.course(theta, solver)
            by_host = (
                ode.susceptibility(course.antibody_at_exposure, parameters),
                ode.severity(course, parameters),
            )
            by_day = (ode.infectiousness(course.viral_load), ode.shedding(course.viral_load), course.antibody)
            return torch.cat((*by_day, torch.stack(by_host, -1)), -1)

        return of

    def same(self, of, theta):
        """`of` a table function is the same by both solvers."""
        ours, theirs = (of(self.tables(s), theta) for s in ("kernel", "plain"))
        torch.testing.assert_close(ours, theirs, **self.near)
        assert ours.dtype == self.dtype

    def values(self):
        for shape in ((), (3,), (2, 2)):  # 12, 36 and 48 hosts: no multiple of the lanes of a program
            self.same(lambda f, x: f(x), self.scores(*shape))

    def flags(self):
        theta = self.scores(3)
        theta[1, 0] = 40.0  # growth of 500/day
        good = self.course(theta, "kernel")[1]
        assert good.finite.tolist() == [True, False, True]
        alone = self.course(theta[[0, 2]], "plain")[1]
        torch.testing.assert_close(good.viral_load[[0, 2]], alone.viral_load, **self.near)
        theta[1, 0] = float("nan")
        assert self.course(theta, "kernel")[1].finite.tolist() == [True, False, True]

        leaf = theta.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.tables("kernel")(leaf)[[0, 2]].sum(), leaf)
        expected = grad(lambda x: self.tables("plain")(x).sum())(theta[[0, 2]])
        torch.testing.assert_close(gradient[[0, 2]], expected, rtol=self.near["rtol"], atol=10 * self.near["atol"])

    def forward_mode(self):
        theta, down = self.scores(3), self.scores(3, seed=1)
        self.same(lambda f, x: torch.cat(jvp(f, (x,), (down,)), -1), theta)
        # as the study does: the tangents are batched, the point is not
        directions = torch.eye(7, dtype=self.dtype, device=self.device)
        self.same(lambda f, x: vmap(lambda e: jvp(f, (x,), (e.expand_as(x),))[1])(directions), theta)

    def reverse_mode(self):
        theta = self.scores(3)
        weights = torch.randn(3, 12, 3 * self.days + 2, generator=torch.Generator().manual_seed(2))
        weights = weights.to(self.device, self.dtype)

        def gradient(f, x):
            leaf = x.clone().requires_grad_()
            return torch.autograd.grad((f(leaf) * weights).sum(), leaf)[0]

        self.same(gradient, theta)

    def transforms(self):
        theta = self.scores(2, 1)  # one particle each, with its axis: torch gives tangents of scalars double precision
        self.same(lambda f, x: vmap(f)(x), theta)
        self.same(lambda f, x: vmap(jacfwd(f))(x), theta)
        self.same(lambda f, x: vmap(grad(lambda y: f(y).sum()))(x), theta)
        self.same(lambda f, x: jacrev(lambda y: f(y)[:, :2, 0])(x), theta[0])

    def second_derivatives_are_refused(self):
        theta, short = self.scores(1), Checks(self.device, self.dtype, 1, 0.5)

        def total(growth):
            return short.tables("kernel")(torch.cat((growth.reshape(1, 1), theta[:, 1:]), -1)).sum()

        def twice(x):
            leaf = x.clone().requires_grad_()
            (first,) = torch.autograd.grad(total(leaf), leaf, create_graph=True)
            return torch.autograd.grad(first, leaf)

        for of in (jacfwd(jacfwd(total)), jacfwd(jacrev(total)), jacrev(jacfwd(total)), jacrev(jacrev(total)), twice):
            with pytest.raises(ValueError, match="solver='plain'"):
                of(theta[0, 0])

    def no_hosts(self):
        assert self.tables("kernel")(self.scores(0)).shape == (0, 12, 3 * self.days + 2)


CHECKS = [name for name in vars(Checks) if name not in ("scores", "course", "tables", "same") and name[0] != "_"]
