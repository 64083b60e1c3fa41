import pyro
import pyro.distributions as dist
import pytest
import torch
from chirho.counterfactual.handlers import MultiWorldCounterfactual
from chirho.dynamical.handlers import StaticIntervention
from chirho.dynamical.internals.backends import torchdiffeq as backend
from chirho.dynamical.ops import simulate
from chirho.indexed.ops import IndexSet, gather
from chirho.interventional.handlers import do

import ode
from ode._chirho_compat import batched_odeint, repair_chirho, torch_adds_ellipsis_to_size
from ode._dynamics import COPIES, LN10, dynamics
from ode._runge_kutta import rk4_step

HOSTS = ode.archetypes_by_age_and_dose()
FEW = ode.archetypes_by_age_and_dose(age_midpoints=(15.0, 65.0))
NAMES = [prior.name for prior in ode.PRIORS]


def draws(count, seed=1):
    return ode.prior_draws(count, torch.Generator().manual_seed(seed))


def by_hand(model, jumps, *, days=10, substeps=16):
    """Log V and log A each day, from production steps alone; `jumps` is [(time, function of (model, state))], times in eighths."""
    state, course = model.initial, []
    for eighth in range(8 * days):
        for time, change in jumps:
            if eighth == round(8 * time):
                model, state = change(model, state)
        for _ in range(substeps):
            state = rk4_step(model.rates, state, 0.125 / substeps)
        if eighth % 8 == 7:
            course.append(state)
    course = torch.stack(course, -1)
    return course[2] / LN10 + COPIES, course[3] / LN10


def booster(rise):
    jump = torch.zeros(4, 1, 1)
    jump[3] = rise * LN10
    return lambda model, state: (model, state + jump)


def antiviral(effect):
    return lambda model, state: (model.with_production(1 - effect), state)


def test_chirho_path_takes_the_steps_of_the_production_path():
    parameters = draws(3)
    ours, theirs = ode.within_host(parameters, HOSTS), ode.simulate_with_chirho(parameters, HOSTS)
    for name in ("viral_load", "antibody", "antibody_at_exposure"):
        torch.testing.assert_close(getattr(theirs, name), getattr(ours, name), rtol=1e-10, atol=1e-10)
    assert theirs.finite.all()


def test_chirho_path_without_batch():
    parameters = ode.prior_median()
    torch.testing.assert_close(
        ode.simulate_with_chirho(parameters, FEW).viral_load,
        ode.within_host(parameters, FEW).viral_load,
        rtol=1e-10,
        atol=1e-10,
    )


@pytest.mark.parametrize(
    ("booster_day", "antiviral_day"), [(2.5, None), (None, 1.75), (1.5, 3.25), (4.0, 2.0), (2.0, 2.0)]
)
def test_interventions_equal_a_solve_in_pieces(booster_day, antiviral_day):
    parameters, rise, effect = draws(2), 0.6, 0.8
    jumps = [] if booster_day is None else [(booster_day, booster(rise))]
    jumps += [] if antiviral_day is None else [(antiviral_day, antiviral(effect))]
    course = ode.simulate_with_chirho(
        parameters,
        FEW,
        days=10,
        booster_day=booster_day,
        booster_rise=rise,
        antiviral_day=antiviral_day,
        antiviral_effect=effect,
    )
    same_steps, _ = by_hand(dynamics(parameters, FEW), jumps, substeps=1)
    fine, _ = by_hand(dynamics(parameters, FEW), jumps)
    # an intervention on a logged day shows in the table only from the day after
    later = [d for d in range(10) if d + 1 not in (booster_day, antiviral_day)]
    torch.testing.assert_close(course.viral_load[..., later], same_steps[..., later], rtol=1e-9, atol=1e-9)
    assert (course.viral_load - fine).abs().max() < 2e-3
    # an early antiviral spares target cells, so the load may be higher later: it is the total that must fall
    untouched = ode.infectiousness(ode.within_host(parameters, FEW, days=10).viral_load).sum(-1)
    assert (ode.infectiousness(course.viral_load).sum(-1) < 0.98 * untouched).all()


@pytest.mark.parametrize(
    ("booster_day", "antiviral_day"),
    [(2.5, None), (None, 1.75), (1.5, 3.25), (4.0, 2.0), (2.0, 2.0), (1.57, 2.31), (2.04, 2.09)],
)
def test_a_treatment_of_the_production_path_is_that_of_chirho(booster_day, antiviral_day):
    parameters, given = draws(2), {"booster_day": booster_day, "antiviral_day": antiviral_day}
    ours = ode.within_host(parameters, FEW, days=8, treatment=ode.Treatment(**given, antiviral_effect=0.8))
    theirs = ode.simulate_with_chirho(parameters, FEW, days=8, **given, antiviral_effect=0.8)
    assert ours.finite.all()
    # between steps chirho goes on in steps from the intervention and interpolates, we return to the grid
    on_grid = all(t is None or (8 * t).is_integer() for t in given.values())
    exact = 1e-9 if on_grid else 2e-3
    later = [d for d in range(8) if d + 1 not in given.values()]
    for name in ("viral_load", "antibody"):
        one, other = (getattr(course, name)[..., later] for course in (ours, theirs))
        torch.testing.assert_close(one, other, rtol=exact, atol=exact)


def test_a_treatment_at_a_time_of_its_own_for_every_particle_and_kind():
    parameters = draws(2)
    when = torch.linspace(0.3, 5.9, 16).reshape(2, 8)
    together = ode.within_host(
        parameters, FEW, days=8, treatment=ode.Treatment(antiviral_day=when, booster_day=when + 1.0)
    )
    for p, k in ((0, 0), (0, 5), (1, 3), (1, 7)):
        alone = ode.within_host(
            parameters, FEW, days=8, treatment=ode.Treatment(antiviral_day=when[p, k], booster_day=when[p, k] + 1.0)
        )
        torch.testing.assert_close(together.viral_load[p, k], alone.viral_load[p, k])


def test_treatments_outside_the_course_and_impossible_ones():
    parameters = draws(2)
    plain = ode.within_host(parameters, FEW)
    late = ode.within_host(parameters, FEW, treatment=ode.Treatment(booster_day=14.0, antiviral_day=20.0))
    torch.testing.assert_close(late.viral_load, plain.viral_load)
    early, from_start = (
        ode.within_host(parameters, FEW, treatment=ode.Treatment(antiviral_day=t)) for t in (-2.0, 0.0)
    )
    torch.testing.assert_close(early.viral_load, from_start.viral_load)
    when = torch.tensor([[2.0], [float("nan")]])
    assert ode.within_host(parameters, FEW, treatment=ode.Treatment(booster_day=when)).finite.tolist() == [True, False]
    effect = torch.tensor([[1.0], [0.5]])
    cut = ode.within_host(parameters, FEW, treatment=ode.Treatment(antiviral_day=2.0, antiviral_effect=effect))
    assert cut.finite.tolist() == [False, True]
    alone = ode.within_host(parameters, FEW, treatment=ode.Treatment(antiviral_day=2.0, antiviral_effect=0.5))
    torch.testing.assert_close(cut.viral_load[1], alone.viral_load[1])


def test_an_intervention_between_steps_is_near_the_exact_course():
    parameters = draws(2)
    near = ode.simulate_with_chirho(parameters, FEW, days=6, antiviral_day=2.3)
    exact = ode.simulate_with_chirho(parameters, FEW, days=6, antiviral_day=2.3, step=1 / 64)
    assert (near.viral_load - exact.viral_load).abs().max() < 2e-3


def test_booster_defaults_to_the_rise_of_a_dose():
    parameters = draws(2)
    course = ode.simulate_with_chirho(parameters, FEW, days=3, booster_day=1e-6)
    rise = course.antibody[..., 0] - ode.within_host(parameters, FEW, days=1).antibody[..., 0]
    torch.testing.assert_close(rise, parameters.antibody_per_dose[:, None].expand(2, 8), atol=0.02, rtol=0)


def test_handlers_of_the_caller_work_on_the_model():
    parameters = draws(2)
    rates, state = ode.chirho_model(parameters, FEW)
    with (
        ode.chirho_solver(),
        StaticIntervention(torch.tensor(2.0), {"log_virus": lambda v: v - 3.0, "log_eclipse": lambda e: e - 3.0}),
    ):
        end = simulate(rates, state, torch.tensor(0.0), torch.tensor(3.0))
    assert set(end) == set(ode.STATE)
    untouched = ode.within_host(parameters, FEW, days=3).viral_load[..., -1]
    assert (end["log_virus"] / LN10 + COPIES < untouched - 0.3).all()


def test_repair_is_used_only_where_it_is_needed(monkeypatch):
    monkeypatch.setattr(backend, "_batched_odeint", "theirs")
    repair_chirho()
    assert backend._batched_odeint == ("theirs" if torch_adds_ellipsis_to_size() else batched_odeint)
    monkeypatch.setattr(backend, "_batched_odeint", "theirs")
    monkeypatch.setattr("ode._chirho_compat.torch_adds_ellipsis_to_size", lambda: True)
    repair_chirho()
    assert backend._batched_odeint == "theirs"


@pytest.mark.parametrize("name", ["booster_day", "antiviral_day"])
@pytest.mark.parametrize("day", [0.0, -1.0, 14.0, float("nan"), torch.tensor([1.0, 2.0])])
def test_a_day_outside_the_course_is_refused(name, day):
    with pytest.raises(ValueError, match=name):
        ode.simulate_with_chirho(ode.prior_median(), FEW, **{name: day})


@pytest.mark.parametrize("effect", [-0.1, 1.0, 2.0])
def test_an_impossible_effect_is_refused(effect):
    with pytest.raises(ValueError, match="antiviral_effect"):
        ode.simulate_with_chirho(ode.prior_median(), FEW, antiviral_day=2.0, antiviral_effect=effect)


def test_two_worlds_in_one_call_equal_two_runs():
    medians = ode.prior_median()

    def model():
        values = {n: pyro.sample(n, dist.Delta(getattr(medians, n))) for n in NAMES}
        course = ode.within_host(ode.WithinHostParameters.from_mapping(values), FEW)
        return pyro.deterministic("load", course.viral_load, event_dim=2)

    with MultiWorldCounterfactual(first_available_dim=-1), do(actions={"antibody_per_dose": torch.tensor(0.8)}):
        load = model()
        worlds = [gather(load, IndexSet(antibody_per_dose={w}), event_dim=2).squeeze() for w in (0, 1)]
    torch.testing.assert_close(worlds[0], ode.within_host(medians, FEW).viral_load)
    stronger = {n: getattr(medians, n) for n in NAMES} | {"antibody_per_dose": torch.tensor(0.8)}
    expected = ode.within_host(ode.WithinHostParameters(**stronger), FEW).viral_load
    torch.testing.assert_close(worlds[1], expected)


def test_simulation_inside_a_particle_plate_keeps_its_axes():
    def model():
        with pyro.plate("particle", 3):
            values = {p.name: p.quantile(pyro.sample(p.name, dist.Normal(0.0, 1.0))) for p in ode.PRIORS}
        return ode.simulate_with_chirho(
            ode.WithinHostParameters.from_mapping(values), FEW, days=4, booster_day=2.5, antiviral_day=1.5
        )

    pyro.set_rng_seed(0)
    course = model()
    assert course.viral_load.shape == (3, 8, 4)
    assert course.finite.shape == (3,)
