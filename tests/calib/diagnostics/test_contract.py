"""Every diagnostic of the registry: passes on a closed form, fails where it must, and keeps the same manners."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from calib.benchmark_diagnostics import COVARIANCE, POSTERIORS, Posterior, arrays, simulate, table
from calib.diagnostics import DIAGNOSTICS, Verdict, check

EXACT = arrays(POSTERIORS["exact"])
FAR = EXACT | {"observed": np.array([9.0, -9.0, 6.0])}  # ten standard deviations from what the prior simulates
BROKEN = {name: arrays(posterior) for name, posterior in POSTERIORS.items() if name != "exact"}
RNG = np.random.default_rng(3)
SHIFTED = EXACT | {"posterior_predictive": simulate(EXACT["posterior"] + 3.0, RNG)}
AWAY = arrays(Posterior(0.2**2 * COVARIANCE, np.full(3, 0.5)))

MUST_FAIL = {
    "misspecification": {"far data": FAR},
    "prior_predictive": {"far data": FAR},
    "k_hat": {"narrow and biased": AWAY},
    "posterior_predictive": {"shifted": SHIFTED},
    "sbc": {name: BROKEN[name] for name in ("over-confident", "biased", "too wide")},
    "averaged_posterior": {name: BROKEN[name] for name in ("biased", "correlation flipped")},
    "coverage": {n: BROKEN[n] for n in ("over-confident", "biased", "correlation lost", "correlation flipped")},
    "tarp": {n: BROKEN[n] for n in ("over-confident", "biased", "correlation flipped", "too wide")},
    "local_c2st": {
        n: BROKEN[n] for n in ("biased", "correlation lost", "correlation flipped", "too wide", "the prior")
    },
}
EACH = pytest.mark.parametrize("diagnostic", DIAGNOSTICS, ids=lambda d: d.name)


def computed(diagnostic, given, **settings):
    return diagnostic.compute(**{name: given[name] for name in diagnostic.needs}, **settings)


def test_every_diagnostic_has_a_case_that_must_fail():
    assert set(MUST_FAIL) == {d.name for d in DIAGNOSTICS}
    assert DIAGNOSTICS[0].name == "misspecification"


@EACH
def test_passes_on_the_exact_posterior(diagnostic):
    verdict = diagnostic.judge(computed(diagnostic, EXACT))
    assert isinstance(verdict, Verdict)
    assert (verdict.name, verdict.word) == (diagnostic.name, "pass"), verdict.text
    assert not verdict.advice
    assert verdict.text
    assert verdict.threshold


@pytest.mark.parametrize(
    ("diagnostic", "case"),
    [(d, case) for d in DIAGNOSTICS for case in MUST_FAIL[d.name]],
    ids=lambda x: getattr(x, "name", x),
)
def test_fails_where_it_must(diagnostic, case):
    verdict = diagnostic.judge(computed(diagnostic, MUST_FAIL[diagnostic.name][case]))
    assert verdict.word == "fail", verdict.text
    assert verdict.advice


@EACH
def test_results_are_frozen_repeatable_and_drawn(diagnostic):
    before = {name: EXACT[name].copy() for name in diagnostic.needs}
    first, second = (computed(diagnostic, EXACT) for _ in range(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.p_value = 0.0
    for field in dataclasses.fields(first):
        np.testing.assert_equal(getattr(first, field.name), getattr(second, field.name))
    for name, value in before.items():
        np.testing.assert_array_equal(EXACT[name], value)
    assert isinstance(diagnostic.draw(first), Figure)


@EACH
def test_refuses_arrays_that_do_not_fit(diagnostic):
    for name in diagnostic.needs:
        broken = EXACT[name].copy()
        broken.flat[0] = np.nan
        if diagnostic.name != "k_hat":  # draws that are not finite are left out there, and counted
            with pytest.raises(ValueError, match=f"{name} holds 1 entries .* not finite"):
                computed(diagnostic, EXACT | {name: broken})
        with pytest.raises(ValueError, match=r"shape|fewer|along axis|draw"):
            computed(diagnostic, EXACT | {name: EXACT[name][..., None]})


def test_page_runs_what_it_can_and_says_what_it_lacks():
    given = {name: EXACT[name] for name in ("observed", "prior_predictive", "thetas", "samples")}
    page = check(**given, names=("a", "b", "c"))
    grades = {v.name: v.word for v in page.verdicts}
    assert grades["misspecification"] == grades["sbc"] == "pass"
    assert grades["coverage"] == "not run"
    assert "log_prob_thetas" in page["coverage"].text
    assert page.word == "pass"
    with pytest.raises(ValueError, match="'theta' was given"):
        check(theta=EXACT["thetas"])


def test_page_as_text_data_and_html(tmp_path):
    page = check(observed=FAR["observed"], prior_predictive=FAR["prior_predictive"])
    assert page.word == "fail"
    text = page.text()
    assert "FAIL  Can the simulator produce such data at all?" in text
    assert "What to do:" in text
    assert page.to_dict()["verdicts"][3]["value"] is None  # not run
    for name in ("page.html", "page.json", "page.txt"):
        page.save(tmp_path / name)
    content = (tmp_path / "page.html").read_text()
    assert "Do the priors cover the data?" in content
    assert "<script" not in content


def test_the_benchmark_prints_what_the_page_says():
    found = table(seeds=(0,), count=60)
    assert list(found) == list(POSTERIORS)
    assert found["over-confident"]["coverage"] == "0/0/1"
    assert set(found["exact"]) == {d.name for d in DIAGNOSTICS}
