import pytest
import torch
from torchdiffeq import odeint

import ode
from ode._dynamics import COPIES, LN10, dynamics

HOSTS = ode.archetypes_by_age_and_dose()
NAMES = [prior.name for prior in ode.PRIORS]


def draws(count, seed=0):
    return ode.prior_draws(count, torch.Generator().manual_seed(seed))


def test_shapes_axes_and_order():
    course = ode.within_host(draws(6), HOSTS, days=9)
    assert course.viral_load.shape == course.antibody.shape == (6, 32, 9)
    assert course.antibody_at_exposure.shape == (6, 32)
    assert course.finite.shape == (6,)
    assert HOSTS.doses[4 * 3 + 2] == 2
    assert HOSTS.age_midpoint[4 * 3 + 2] == 35


def test_no_batch_and_two_batch_axes_agree_with_one():
    flat = draws(6)
    grid = ode.WithinHostParameters(**{n: getattr(flat, n).reshape(2, 3) for n in NAMES})
    one = ode.WithinHostParameters(**{n: getattr(flat, n)[4] for n in NAMES})
    course = ode.within_host(flat, HOSTS).viral_load
    torch.testing.assert_close(ode.within_host(grid, HOSTS).viral_load.reshape(6, 32, 14), course)
    torch.testing.assert_close(ode.within_host(one, HOSTS).viral_load, course[4])


def test_production_path_equals_an_adaptive_reference():
    parameters = draws(4)
    model = dynamics(parameters, HOSTS)
    with torch.no_grad():
        exact = odeint(
            lambda _, state: model.rates(state),
            model.initial,
            torch.arange(15.0),
            method="dopri5",
            rtol=1e-9,
            atol=1e-9,
        )[1:, 2]
        exact = exact.movedim(0, -1) / LN10 + COPIES
        error = [
            (ode.within_host(parameters, HOSTS, step=step).viral_load - exact).abs().max().item()
            for step in (1 / 8, 1 / 16)
        ]
    assert error[0] < 3e-4
    assert error[1] < error[0] / 10  # fourth order


def test_growth_rate_is_the_one_asked_for():
    parameters = ode.prior_median()
    naive = ode.Archetypes(torch.tensor([35.0]), torch.zeros(1), torch.zeros(1))
    load = ode.within_host(parameters, naive, days=1).viral_load[0, 0]
    begun = dynamics(parameters, naive).initial[2, 0] / LN10 + COPIES
    assert ((load - begun) * LN10).item() == pytest.approx(parameters.viral_growth.item(), rel=1e-2)


def test_cells_and_virus_obey_the_equations():
    parameters = draws(3)
    model = dynamics(parameters, HOSTS)
    state = model.initial + torch.tensor([-0.7, 1.0, 2.0, 3.0])[:, None, None]
    t, e, v, a = state.exp()
    growth = parameters.viral_growth[:, None]
    clearance = parameters.immune_clearance[:, None]
    beta = (growth + 4.0) * (growth + clearance) / 4.0
    delta = clearance * torch.exp(-parameters.age_effect[:, None] * (HOSTS.age_midpoint - 35) / 10)
    share = a / (a + 10**2.3)
    expected = torch.stack(
        (
            -beta * (1 - share) * v * t - beta * v * t,
            beta * (1 - share) * v * t - 4.0 * e,
            4.0 * e - (delta + 1.5 * share) * v,
            1.0 * a * v / (v + 10**-3.5),
        )
    )
    torch.testing.assert_close(model.rates(state) * state.exp(), expected)


def test_a_thousand_prior_draws_are_finite_and_resolved():
    course = ode.within_host(draws(1000), HOSTS)
    assert course.finite.all()
    assert torch.isfinite(course.viral_load).all()
    assert (ode.infectiousness(course.viral_load) >= 0).all()
    assert (course.antibody_at_exposure >= 0).all()
    assert (course.antibody[..., 1:] >= course.antibody[..., :-1]).all()


def test_an_unresolved_particle_is_reported_and_spoils_no_other():
    good = draws(3)
    values = {n: getattr(good, n).clone() for n in NAMES}
    values["viral_growth"][1] = 30.0
    course = ode.within_host(ode.WithinHostParameters(**values), HOSTS)
    assert course.finite.tolist() == [True, False, True]
    expected = ode.within_host(good, HOSTS).viral_load
    torch.testing.assert_close(course.viral_load[[0, 2]], expected[[0, 2]])
    values["viral_growth"][1] = float("nan")
    assert ode.within_host(ode.WithinHostParameters(**values), HOSTS).finite.tolist() == [True, False, True]


def test_float32_stays_float32_and_near():
    parameters = draws(8)
    single = ode.WithinHostParameters(**{n: getattr(parameters, n).float() for n in NAMES})
    course = ode.within_host(single, HOSTS)
    assert course.viral_load.dtype == torch.float32
    assert course.antibody_at_exposure.dtype == torch.float32
    near = ode.within_host(parameters, HOSTS).viral_load
    assert (ode.infectiousness(course.viral_load).double() - ode.infectiousness(near)).abs().max() < 1e-4


@pytest.mark.parametrize("step", [0.0, -0.1, 0.3, 2.0])
def test_a_step_that_does_not_divide_a_day_is_refused(step):
    with pytest.raises(ValueError, match="whole fraction of a day"):
        ode.within_host(ode.prior_median(), HOSTS, step=step)


def test_no_days_are_refused():
    with pytest.raises(ValueError, match="days is 0"):
        ode.within_host(ode.prior_median(), HOSTS, days=0)
