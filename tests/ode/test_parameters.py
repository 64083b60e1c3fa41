import math

import pytest
import torch

import ode

NAMES = [prior.name for prior in ode.PRIORS]


def test_every_parameter_has_one_prior_with_a_reason():
    assert sorted(NAMES) == sorted(ode.WithinHostParameters.__dataclass_fields__)
    for prior in ode.PRIORS:
        assert prior.family in ("lognormal", "normal", "logitnormal")
        assert prior.scale > 0
        assert prior.unit
        assert len(prior.reason) > 20


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("lognormal", math.exp(0.3 + 0.2 * 1.5)),
        ("normal", 0.3 + 0.2 * 1.5),
        ("logitnormal", 1 / (1 + math.exp(-(0.3 + 0.2 * 1.5)))),
    ],
)
def test_quantiles_in_closed_form(family, expected):
    prior = ode.Prior("x", family, 0.3, 0.2, "1", "a test")
    assert prior.quantile(torch.tensor(1.5)).item() == pytest.approx(expected)


def test_draws_have_the_stated_medians_and_follow_the_generator():
    draws = ode.prior_draws(4000, torch.Generator().manual_seed(0))
    second = ode.prior_draws(4000, torch.Generator().manual_seed(0))
    median = ode.prior_median()
    for prior in ode.PRIORS:
        value = getattr(draws, prior.name)
        assert torch.equal(value, getattr(second, prior.name))
        below = (value < getattr(median, prior.name)).double().mean().item()
        assert below == pytest.approx(0.5, abs=0.03)
    assert ode.prior_median(dtype=torch.float32).viral_growth.dtype == torch.float32


def test_from_mapping_broadcasts_and_ignores_other_names():
    values = {name: torch.tensor(1.0) for name in NAMES} | {"something_else": torch.tensor(3.0)}
    values["viral_growth"] = torch.linspace(3.0, 5.0, 4)
    parameters = ode.WithinHostParameters.from_mapping(values)
    assert parameters.batch_shape == (4,)
    assert parameters.age_effect.shape == (4,)


def test_a_missing_parameter_is_named():
    values = {name: torch.tensor(1.0) for name in NAMES if name != "waning_rate"}
    with pytest.raises(ValueError, match="has no waning_rate"):
        ode.WithinHostParameters.from_mapping(values)


def test_unequal_shapes_types_and_integers_are_refused():
    values = {name: torch.ones(3) for name in NAMES}
    with pytest.raises(ValueError, match="age_effect"):
        ode.WithinHostParameters(**{**values, "age_effect": torch.ones(2)})
    with pytest.raises(ValueError, match="waning_rate"):
        ode.WithinHostParameters(**{**values, "waning_rate": torch.ones(3, dtype=torch.float32)})
    with pytest.raises(ValueError, match="floating"):
        ode.WithinHostParameters(**{name: torch.ones(3, dtype=torch.int64) for name in NAMES})


def test_archetypes_put_the_dose_fastest():
    hosts = ode.archetypes_by_age_and_dose()
    assert hosts.count == 32
    for age in range(8):
        for doses in range(4):
            k = age * 4 + doses
            assert hosts.age_midpoint[k] == ode.AGE_MIDPOINTS[age]
            assert hosts.doses[k] == doses
            assert hosts.days_since_last_dose[k] == ode.DAYS_SINCE_LAST_DOSE[doses]


def test_days_since_the_last_dose_may_differ_by_age():
    days = torch.arange(6.0).reshape(3, 2)
    hosts = ode.archetypes_by_age_and_dose((10.0, 40.0, 70.0), days)
    assert hosts.days_since_last_dose.tolist() == [0, 1, 2, 3, 4, 5]
    assert hosts.doses.tolist() == [0, 1, 0, 1, 0, 1]


def test_impossible_archetypes_are_refused():
    with pytest.raises(ValueError, match="doses holds a negative"):
        ode.Archetypes(torch.ones(2), torch.tensor([1.0, -1.0]), torch.ones(2))
    with pytest.raises(ValueError, match="days_since_last_dose has shape"):
        ode.Archetypes(torch.ones(2), torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="days_since_last_dose has shape"):
        ode.archetypes_by_age_and_dose(days_since_last_dose=torch.ones(7, 4))


def test_antibody_wanes_with_the_stated_half_life():
    parameters = ode.prior_median()
    hosts = ode.Archetypes(torch.full((2,), 35.0), torch.full((2,), 2.0), torch.tensor([0.0, 75.0]))
    titre = 10 ** ode.within_host(parameters, hosts, days=1).antibody_at_exposure
    assert titre[0].item() == pytest.approx(10.0)
    assert (titre[1] - 1).item() == pytest.approx((titre[0] - 1).item() / 2)
