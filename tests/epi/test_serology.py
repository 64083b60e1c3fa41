"""Antibody surveys: against closed forms of the test, of chance among those sampled, and of what a survey tells."""

import math
from datetime import date

import numpy as np
import pytest
import torch

import epi
from epi import Delay, StudyError
from epi.inference.surveys import Survey
from epi.model.antibody import converted_by, ever_infected, has_antibody, positive_on, rogan_gladen
from epi.model.serology import SurveyDesign, ages_covered, draw_positives, share_positive, shifted
from epi.outputs.serosurvey import cells_of, survey_table, weekly_windows
from epi.outputs.survey_value import entropy_gain, normal_entropy, survey_values, update
from epi.study import AgeBands
from tests.made_up.study import study

DAY = date(2030, 4, 1)


def outbreak(days=60, day=10, people=1000.0, infected=200.0):
    """`[1, T, 1]`: all infected on one day."""
    x = torch.zeros(1, days, 1)
    x[0, day] = infected
    return x, torch.tensor([people])


def test_everybody_infected_on_a_day_seroconverts_with_the_delay_and_keeps_antibody():
    infections, people = outbreak()
    delay = Delay(12.0, 4.0, longest=40)
    found = has_antibody(infections, people, converted_by(60, delay, infections))[0, :, 0]
    assert float(found[9]) == 0.0
    assert float(found[-1]) == pytest.approx(0.2)
    mean = (torch.arange(60.0)[1:] @ found.diff()) / 0.2 - 10
    assert float(mean) == pytest.approx(12.0, abs=0.05)


def test_antibody_halves_in_its_half_life_once_all_have_seroconverted():
    infections, people = outbreak(days=120)
    converted = converted_by(120, Delay(5.0, 1.0, longest=10), infections)
    found = has_antibody(infections, people, converted, torch.tensor([30.0]))[0, :, 0]
    assert float(found[80] / found[50]) == pytest.approx(0.5, rel=1e-9)


def test_ever_infected_is_a_share_and_never_more_than_all():
    infections, people = outbreak(infected=1500.0)
    assert float(ever_infected(infections, people)[0, -1, 0]) == 1.0


def test_an_infection_is_positive_for_as_many_days_as_a_swab_finds_it():
    infections, people = outbreak(days=120)
    found = positive_on(infections, people, Delay(4.0, 1.5), Delay(18.0, 8.0, longest=60))[0, :, 0]
    assert float(found.sum()) == pytest.approx(0.2 * 18.0, rel=0.02)
    assert float(found.max()) <= 0.2


def test_the_test_is_seen_through_as_rogan_and_gladen_say():
    design = SurveyDesign(DAY, DAY, sensitivity=0.87, specificity=0.997)
    antibody = torch.full((3, 90, 2), 0.21)
    positive = share_positive(design, antibody, study.calendar)
    assert float(positive[0, 0]) == pytest.approx(0.21 * 0.87 + 0.79 * 0.003)
    back = rogan_gladen(positive, torch.tensor(0.87), torch.tensor(0.997))
    torch.testing.assert_close(back, torch.full_like(back, 0.21))


def test_chance_among_those_tested_has_mean_and_variance_of_the_beta_binomial():
    design = SurveyDesign(DAY, DAY, people=400, cluster=20, correlation=0.1)
    share = torch.full((200_000,), 0.2)
    found = draw_positives(design, share, torch.Generator().manual_seed(1))
    effect = 1 + 19 * 0.1
    assert float(found.mean()) == pytest.approx(80.0, rel=0.005)
    assert float(found.var()) == pytest.approx(400 * 0.2 * 0.8 * effect, rel=0.02)
    assert design.effective_people == pytest.approx(400 / effect)


def test_without_clusters_chance_is_binomial():
    design = SurveyDesign(DAY, DAY, people=50)
    found = draw_positives(design, torch.full((100_000,), 0.3), torch.Generator().manual_seed(2))
    assert float(found.var()) == pytest.approx(50 * 0.3 * 0.7, rel=0.03)


def test_selection_multiplies_the_odds():
    share = shifted(torch.tensor([0.2]), math.log(2.0))
    assert float(share / (1 - share)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"sensitivity": 0.1, "specificity": 0.8}, "below 1 - specificity = 0.2"),
        ({"sensitivity": 1.2}, "sensitivity 1.2, expected a share"),
        ({"people": 0}, "expected at least 1"),
        ({"last_sample": date(2030, 3, 1)}, "put its first day first"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused(wrong, sentence):
    with pytest.raises(StudyError, match=sentence):
        SurveyDesign(**({"first_sample": DAY, "last_sample": DAY} | wrong))


def test_a_survey_beyond_the_simulated_days_is_refused():
    design = SurveyDesign(date(2031, 1, 1), date(2031, 1, 8))
    with pytest.raises(StudyError, match="choose days among them"):
        share_positive(design, torch.zeros(1, 84, 1), study.calendar)


def test_ages_that_cut_a_band_take_its_share_of_years():
    assert ages_covered(AgeBands((0, 10, 20)), 15, 24).tolist() == [0.0, 0.5, 0.5]


def test_the_table_of_a_survey_adds_up_over_areas_and_ages():
    infections = torch.zeros(2, 84, 2, 3)
    infections[:, 20] = torch.tensor([[10.0, 20.0, 5.0], [4.0, 6.0, 2.0]])
    people = torch.tensor([[100.0, 200.0, 50.0], [40.0, 60.0, 20.0]])
    cells = cells_of(study, infections, people, [(0, None), (20, None)], whole="Both")
    assert cells.labels == tuple((a, g) for a in ("North", "South", "Both") for g in ("All ages", "20+"))
    late = SurveyDesign(date(2030, 5, 18), date(2030, 5, 24))
    table = survey_table(cells, [late], quantiles=[0.5])
    assert set(table["quantity"]) == {"ever_infected", "seropositive"}
    row = table[(table.area == "Both") & (table.age_band == "20+") & (table.quantity == "ever_infected")]
    assert float(row["value"].iloc[0]) == pytest.approx(100 * 33 / 330, abs=1e-3)


def test_weeks_of_a_survey_end_on_its_last_day():
    assert weekly_windows(DAY, date(2030, 4, 16))[-1] == (date(2030, 4, 15), date(2030, 4, 16))


def test_the_update_is_that_of_a_linear_gaussian_model():
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.4], [0.4, 2.0]])
    x = rng.multivariate_normal([0, 0], covariance, 200_000)
    operator, noise = np.array([[1.0, 1.0], [0.5, -1.0], [0.0, 2.0]]), np.array([0.3, 0.5, 1.0])
    found = update(x, x @ operator.T, noise)
    exact = np.linalg.inv(np.linalg.inv(covariance) + operator.T @ np.diag(1 / noise) @ operator)
    np.testing.assert_allclose(found.sd_after, np.sqrt(np.diag(exact)), rtol=0.01)
    gain = 0.5 * (np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(exact)[1])
    assert found.gain == pytest.approx(gain, rel=0.01)


def test_one_number_seen_with_noise_gains_half_the_log_of_one_more_than_signal_over_noise():
    x = np.random.default_rng(1).normal(size=(100_000, 1))
    assert update(x, x, np.array([0.25])).gain == pytest.approx(0.5 * math.log(1 + 4.0), rel=0.01)


def test_halving_every_standard_deviation_gains_a_log_of_two_for_each_quantity():
    x = np.random.default_rng(2).normal(size=(5000, 3))
    assert entropy_gain(x, x / 2) == pytest.approx(3 * math.log(2))
    assert normal_entropy(x[:, :1]) == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=0.03)


def test_a_larger_survey_tells_more_and_clusters_less():
    rng = np.random.default_rng(3)
    share = 0.2 + 0.04 * rng.normal(size=(400, 2))
    targets, people = np.log(share), np.array([3.0, 1.0])
    plain = survey_values(targets, ["North", "South"], share, people, SurveyDesign(DAY, DAY))
    clustered = survey_values(
        targets, ["North", "South"], share, people, SurveyDesign(DAY, DAY, cluster=10, correlation=0.1)
    )
    assert plain["gain_nats"].is_monotonic_increasing
    assert plain["sd_North"].is_monotonic_decreasing
    assert (clustered["gain_nats"][1:] < plain["gain_nats"][1:]).all()


def test_a_survey_has_a_slope_where_its_expectation_has_no_error_of_its_own():
    survey = epi.Serosurvey(
        by="age",
        sensitivity=epi.Beta(90.0, 10.0),
        specificity=epi.Beta(99.0, 1.0),
        seroconversion=Delay(14.0, 5.0),
    )
    one = Survey(survey, torch.arange(2), torch.tensor([30.0, 50.0]), torch.tensor([200.0, 200.0]), None, None)
    mean = torch.tensor([[35.0, 45.0]], requires_grad=True)
    error = torch.zeros(1, 2, requires_grad=True)
    one.log_prob(torch.zeros(1, 0), mean, error).sum().backward()
    assert torch.isfinite(mean.grad).all()
    assert torch.isfinite(error.grad).all()


def test_too_few_draws_give_no_entropy():
    with pytest.raises(StudyError, match="give no covariance"):
        normal_entropy(np.zeros((3, 3)))
