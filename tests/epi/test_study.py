"""A study is a value: what it says of itself, and that parts which do not fit end with one sentence."""

import math
import subprocess
import sys
from dataclasses import replace
from datetime import date

import pytest

import epi
import ode
from epi import LogitNormal, LogNormal, Normal, StudyError
from experiments.nz_calibration.study import study as nz
from tests.made_up.study import study


def changed(**fields):
    return replace(study, **fields)


def with_part(part):
    return changed(parts=(*study.parts, part))


def test_importing_studies_is_cheap():
    code = "import sys, epi, experiments.nz_calibration.study, tests.made_up.study; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_study_is_printed_in_full_and_compared_by_value():
    assert "NaturalHistory" in repr(study)
    assert changed() == study
    assert changed(title="other") != study


def test_parameters_come_in_the_order_of_the_architecture_page():
    names = [p.name for p in study.parameters()]
    assert names == [
        "transmission_household", "transmission_school", "transmission_work", "transmission_community", "assortativity", "coupling",
        "county_spread", "seed_level", "seed_growth", "ascertainment_tests", "severity_level", "severity_age", "cluster_size",
        "dispersion_cases_county", "dispersion_admissions_age", "county_effect", "drift",
    ]  # fmt: skip
    assert study.hierarchy == {"county_effect": "county_spread"}


def test_the_within_host_priors_are_those_of_the_package():
    def location(prior):
        return prior.location if isinstance(prior, LogNormal | LogitNormal) else prior.mean

    declared = nz.disease.parameters(nz)
    for own, theirs in zip(declared, (*ode.PRIORS, *ode.SEVERITY_PRIORS), strict=True):
        assert own.name == theirs.name
        assert own.prior.family == theirs.family
        assert (location(own.prior), own.prior.sd, own.prior.unit, own.prior.reason) == (
            theirs.location, theirs.scale, theirs.unit, theirs.reason,
        )  # fmt: skip


def test_new_zealand_has_the_parameters_it_had():
    names = [p.name for p in nz.parameters()]
    assert names[:9] == [p.name for p in (*ode.PRIORS, *ode.SEVERITY_PRIORS)]
    assert names[9:13] == [f"transmission_{x}" for x in ("household", "school", "work", "community")]
    assert names[-6:] == [
        "age_contact", "district_effect", "district_seed", "severity_band", "wastewater_area_effect", "drift",
    ]  # fmt: skip
    assert sum(p.size for p in nz.parameters()) == 112
    assert nz.default_options == ("cases", "admissions", "deaths")


def test_the_calendar_counts_weeks_that_end_on_any_day():
    calendar = study.calendar
    assert calendar.frequency == "W-SAT"
    assert [w.day_name() for w in calendar.weeks()[:2]] == ["Saturday", "Saturday"]
    matrix = calendar.week_matrix(calendar.days, calendar.weeks())
    assert (matrix.sum(1) == 7).all()
    assert calendar.date_of(calendar.day_of(date(2030, 4, 1))) == date(2030, 4, 1)
    assert calendar.fitted_weeks(calendar.weeks()).sum() == 7


def test_age_bands_of_single_years():
    ages = epi.AgeBands(tuple(range(91)))
    assert ages.names[:2] == ("0", "1")
    assert ages.names[-1] == "90+"
    assert ages.band_of(33.5) == 33
    assert epi.AgeBands((0, 5, 15), oldest=65).overlap(10, 20) == (0.0, 0.5, 6 / 50)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: changed(streams=(*study.streams, epi.Deaths(by="district", delay=epi.Delay(19.0, 9.0)))),
         "'deaths_district' is by 'district', and the study has the axes county, age, all"),
        (lambda: LogNormal(-1.0, 0.3), "has no support: median is -1"),
        (lambda: epi.Uniform(2.0, 1.0), "has no support: low is 2 and high 1"),
        (lambda: epi.Beta(0.0, 1.0), "has no support"),
        (lambda: Normal(0.0, math.inf), "expected a finite number"),
        (lambda: replace(study.calendar, last_week=date(2030, 1, 5)), "Calendar goes from start"),
        (lambda: replace(study.calendar, forecast_from=date(2030, 4, 28)), "weeks end on a Saturday"),
        (lambda: with_part(epi.Schools(LogNormal(0.5, 0.4), {"school": 15.0})), "both have a parameter 'transmission_school'"),
        (lambda: epi.Venue("care_home", LogNormal(0.5, 0.4), {"60+": 0.0}, (20,)), "attended by nobody"),
        (lambda: with_part(epi.Venue("care_home", LogNormal(0.5, 0.4), {"80+": 0.1}, (20,))), "names the age band '80+'"),
        (lambda: with_part(epi.Venue("care_home", LogNormal(0.5, 0.4), {"60+": 0.1}, (20,), members_per_post=3)),
         "put Workplaces after it"),
        (lambda: epi.Region("county", ("North", "North")), "named twice"),
        (lambda: epi.Region("county", ("North",), areas={"all": ("Nord",)}), "holds 'Nord'"),
        (lambda: epi.AgeBands((0, 20, 10)), "ages that rise from 0"),
        (lambda: changed(fit_to=("case",)), "did you mean 'cases'"),
        (lambda: changed(parts=study.parts[1:]), "needs Households and Community"),
        (lambda: changed(streams=(study.streams[0], study.streams[0])), "Two streams are named"),
        (lambda: epi.Community(LogNormal(1.0, 0.3)), "either assortativity or a table of contacts"),
        (lambda: with_part(epi.Intervention("shut", LogNormal(0.5, 0.2), date(2030, 4, 1), layers=("pub",))), "choose among household"),
        (lambda: epi.Delay(30.0, 5.0), "cut it well above its mean"),
        (lambda: changed(streams=(epi.Cases(by="age", delay=epi.Delay(5.0, 2.0), family=epi.NegativeBinomial(Normal(0.1, 1.0))),)),
         "expected log-normal"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_end_with_one_sentence(make, sentence):
    with pytest.raises(StudyError) as error:
        make()
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_shared_parameter_is_one_object():
    twin = epi.Parameter("cluster_size", LogNormal(2.0, 0.4, unit="cases"), observation=True)
    family = epi.NegativeBinomial(LogNormal(0.1, 0.4), twin)
    with pytest.raises(StudyError, match="both have a parameter 'cluster_size'"):
        changed(streams=(*study.streams[:2], epi.Cases(by="age", delay=epi.Delay(6.0, 2.5), family=family)))


def test_studies_are_found_by_module_and_by_folder(tmp_path):
    assert epi.load_study("tests.made_up.study") is study
    (tmp_path / "study.py").write_text("from tests.made_up.study import study\n")
    assert epi.load_study(str(tmp_path)) == study
    with pytest.raises(StudyError, match="There is no study"):
        epi.load_study("no_such_package.study")
    with pytest.raises(StudyError, match="defines no `study`"):
        epi.load_study("tests.made_up")
