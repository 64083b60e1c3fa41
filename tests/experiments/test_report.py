import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from calib._atomic import atomic_write_json
from calib._baseline import baseline_quantiles
from calib._runfolder import RunFolderError
from calib._scores import weighted_interval_score
from epi.errors import NotKept, StudyError
from epi.model import parameter_space
from epi.outputs.derivatives import HEADLINES, functionals
from epi.outputs.run_files import RunFiles
from epi.reporting.key_numbers import sampler_sentence
from epi.reporting.limits import limits
from epi.reporting.plots import ALL, draw_all
from epi.reporting.report import content, write_report
from epi.reporting.sentences import about, coverage_verdict, duration, extremes, percent, skill_sentences
from tests.browser import WIDTHS, browser, faults
from tests.experiments import nz
from tests.experiments.synthetic_run import make_run
from tests.made_up.study import study as known

DERIVED = {"attack_rates", "infections_and_cases", "reproduction_numbers", "map_attack_rate", "map_reproduction"}
"""Plots of quantities that the made-up run does not keep."""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("results") / "run", draws=80, kept=30)
    draw_all(folder)
    return folder


@pytest.fixture
def copy(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.loaded, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page, " ".join(" ".join(page.text).replace("\u00a0", " ").split())


def test_every_figure_is_drawn(run_folder):
    drawn = sorted(path.stem for path in (run_folder / "figures").glob("*.png"))
    assert drawn == sorted(set(ALL) - DERIVED)
    assert all((run_folder / "figures" / f"{name}.png").stat().st_size > 8000 for name in drawn)


def test_the_page_is_whole_and_loads_nothing(run_folder):
    page, text = read(write_report(run_folder))
    images = [source for source in page.loaded if not source.startswith("#")]
    assert len(images) == len(set(ALL) - DERIVED)
    assert all(source.startswith("data:image/png;base64,") for source in images)
    raw = (run_folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\(|<script|@import|http-equiv", raw)
    assert {link[1:] for link in page.loaded if link.startswith("#")} <= set(re.findall(r'id="([\w-]+)"', raw))
    assert raw.count("<table") == raw.count("<caption>")
    assert not re.search(r"<th(?! scope=)[ >]", raw)
    alts = re.findall(r'alt="([^"]*)"', raw)
    assert len(alts) == len(images)
    assert all(len(alt) > 30 for alt in alts)
    assert not set(alts) & set(re.findall(r"<figcaption>(.*?)</figcaption>", raw))
    for heading in ("What was fitted", "How well it did", "What is uncertain", "What matters most", "Limits"):
        assert heading in text
    assert "CC BY-SA 4.0" in text
    for district in nz.DISTRICTS:
        assert district in text


def test_the_page_says_what_the_files_say(run_folder):
    _, text = read(write_report(run_folder))
    scores = json.loads((run_folder / "scores.json").read_text())
    overall = scores["cases_district"]["overall"]["1-4"]
    assert f"relative WIS {overall['relative_wis']:.2f}" in text
    assert "6 February 2022 to 13 March 2022" in text
    assert "The week ending 27 February 2022 was left out" in text
    assert "The fit was stopped by its time limit of 8 minutes" in text
    assert "7,500 epidemics were simulated. After the fit the forecast needed 300" in text
    assert "stopped at its time limit" in text
    assert "2 steps" in text
    assert "k-hat" in text
    assert "by 3.1 % (relative standard deviation, fitted weeks, 16 simulations)" in text
    assert "between 5 % (Northland) and 43 % (Southern)" in text
    table = pd.read_csv(run_folder / "sensitivity.csv")
    first = table[(table.output == HEADLINES[0]) & (table.measure == "derivative_share") & (table["rank"] == 1)]
    assert nz.study.label(first[first.level == "parameter"].parameter.iloc[0]) in text


def test_the_page_in_a_browser(run_folder, tmp_path):
    page = write_report(run_folder)
    with browser() as (chromium, axe):
        for size in WIDTHS.values():
            assert faults(chromium, axe, page.as_uri(), size) == []
        broken = tmp_path / "broken.html"
        broken.write_text("<html lang=en><title>x</title><p style='width: 3000px'>wide</p><img src='data:,'></html>")
        found = " ".join(faults(chromium, axe, broken.as_uri(), WIDTHS["phone"]))
        assert "px wide" in found  # what is wrong is seen
        assert "image-alt" in found


def test_limits_are_those_of_the_study_and_the_run(run_folder, copy):
    run = RunFiles(run_folder)
    text = " ".join(limits(run))
    assert "BA.2" in text  # a variant takes over
    assert "infected again" in text
    assert "one variant" not in text
    assert "infected twice" not in text
    assert "retrospective" in text
    assert "hindsight" in text
    manifest = json.loads((copy / "manifest.json").read_text())
    for chains, said in (
        ({"chains": 64, "r_hat": 1.01, "effective": 900.0}, "Hamiltonian chains"),
        (None, "not of a sampler"),
    ):
        manifest["sampler"] = chains
        atomic_write_json(copy / "manifest.json", manifest)
        assert said in " ".join(limits(RunFiles(copy)))
    plain = SimpleNamespace(
        study=known, manifest={"status": "complete"}, weeks=["2030-05-25"], streams=[], people_by_region=np.ones(2)
    )
    text = " ".join(limits(plain))
    assert "one variant" in text
    assert "Nobody is infected twice" in text
    assert "retrospective" not in text


def test_the_sampler_in_one_line(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    for r_hat, said in ((1.01, "Sampler checks passed"), (1.4, "do not use the intervals")):
        manifest["sampler"] = {"chains": 64, "r_hat": r_hat, "effective": 900.0}
        atomic_write_json(copy / "manifest.json", manifest)
        assert said in sampler_sentence(RunFiles(copy))


def test_a_smoke_run_carries_a_banner(copy):
    _, text = read(write_report(copy))
    assert "Smoke run" not in text
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["configuration"]["smoke"] = True
    atomic_write_json(copy / "manifest.json", manifest)
    _, text = read(write_report(copy))
    assert "No number on this page is a result" in text


def test_a_run_without_extras_still_reports(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    for key in ("notices", "skipped", "simulator_noise", "population", "agents", "fit"):
        manifest.pop(key)
    manifest["notices"], manifest["status"] = [], "failed"
    atomic_write_json(copy / "manifest.json", manifest)
    _, text = read(write_report(copy))
    assert "No step and no draw was skipped." in text
    assert "did not measure how much the simulator's own noise" in text
    assert "status is “failed”" in text


def test_a_synthetic_run_says_so_and_counts_what_it_found(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    assert RunFiles(copy).truth == {}
    manifest["configuration"]["synthetic"] = 0
    atomic_write_json(copy / "manifest.json", manifest)
    space = parameter_space(nz.study)
    rows = [{"name": name, "truth": 0.0} for name in space.names]
    atomic_write_json(copy / "recovery.json", {"parameters": rows})
    truth = RunFiles(copy).truth
    assert truth["transmission_school"] == pytest.approx(0.7)  # z = 0 is the prior's median
    _, text = read(write_report(copy))
    assert "nothing on this page is about New Zealand" in text
    names, draws = RunFiles(copy).draws()
    low, high = np.quantile(draws, (0.05, 0.95), axis=0)
    known = [i for i, name in enumerate(names) if name in truth]
    inside = sum(low[i] <= truth[names[i]] <= high[i] for i in known)
    assert f"{inside} of {len(known)} true values lie inside" in text
    assert "diamond" in ALL["parameters_forest"](RunFiles(copy)).get_suptitle()


def test_text_from_files_is_escaped(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["notices"] = ["<script>alert(1)</script> & more"]
    atomic_write_json(copy / "manifest.json", manifest)
    raw = write_report(copy).read_text()
    assert "<script>" not in raw
    assert "&lt;script&gt;" in raw


@pytest.mark.parametrize(
    ("name", "message"),
    [("scores.json", "lacks scores.json; run the study"), ("sensitivity.csv", "lacks sensitivity.csv"),
     ("figures/fit_elbo.png", "draw the plots"), ("posterior.nc", "status complete. lacks posterior.nc")],
)  # fmt: skip
def test_a_missing_file_is_named(copy, name, message):
    (copy / name).unlink()
    with pytest.raises(StudyError, match=message):
        write_report(copy)


def test_damaged_files_are_named(copy):
    (copy / "scores.json").write_text("{")
    with pytest.raises(StudyError, match=r"scores\.json is damaged"):
        write_report(copy)
    (copy / "history.csv").write_text("step,elbo\n1,2\n")
    with pytest.raises(StudyError, match="lacks the column elbo_smoothed"):
        _ = RunFiles(copy).history
    (copy / "manifest.json").unlink()
    with pytest.raises(RunFolderError, match="holds no manifest"):
        draw_all(copy)


def test_functionals_cover_each_signal_once(run_folder):
    run = RunFiles(run_folder)
    table = {f.name: np.asarray(f.weights) for f in functionals(run.jacobian, run.forecast_from)}
    assert table[HEADLINES[0]].sum() == 11 * 20
    assert table[HEADLINES[1]].sum() == 11 * 8
    weekly = sum(weights for name, weights in table.items() if name.startswith("cases, week ending"))
    assert weekly.sum() == 17 * 20
    districts = sum(weights for name, weights in table.items() if name.startswith("cases in ") and name != HEADLINES[0])
    np.testing.assert_array_equal(districts, table[HEADLINES[0]])


def test_content_counts_parameters_not_sites(run_folder):
    values = content(RunFiles(run_folder))
    assert values["parameter_count"] == 13 + 20 + 8 + 3
    assert values["draw_count"] == 80
    assert len(values["places"]) == 20


def scored(scores):
    """What sentences about scores read of a run."""
    return SimpleNamespace(study=nz.study, scores=scores, cases="cases_district", headline="cases_district")


def test_words():
    assert percent(0.934) == "93\u00a0%"
    assert percent(None) == "–"
    assert about(-6179833) == "6,180,000"
    assert about(0.0391) == "0.039"
    assert duration(492) == "8 min 12 s"
    assert duration(7300) == "2 h 1 min"
    assert coverage_verdict(0.6).startswith("too narrow")
    assert coverage_verdict(0.95) == "about right"
    assert coverage_verdict(1.0).startswith("wider")
    row = {"wis": 12.0, "baseline_wis": 10.0, "relative_wis": 1.2, "coverage_50": 0.5, "coverage_95": 0.8}
    (sentence,) = skill_sentences(scored({"cases_district": {"overall": {"1-4": row}}}), ["cases_district"])
    assert "20\u00a0% larger than the baseline's" in sentence
    places = [
        {"place": name, "relative_wis": ratio} for name, ratio in zip("abcde", (0.5, 0.6, 0.7, 0.8, 1.3), strict=True)
    ]
    assert extremes(scored({"cases_district": {"by_place": places}})).endswith("It did worse than the baseline in e.")


def test_labels_cover_the_model():
    assert all(nz.study.label(p.name) != p.name for p in nz.study.parameters() if "_" in p.name)
    assert nz.study.label("district_effect[Hawke's Bay]") == "transmission in district: Hawke's Bay"
    assert nz.study.label("new_rate") == "new rate"


def test_the_baseline_scores_what_the_documentation_says():
    epidemic_data = nz.tables()
    history = epidemic_data.series["cases_district"].loc["2022-01-30":"2022-03-13"].to_numpy(float)
    later = epidemic_data.series["cases_district"].loc["2022-03-20":"2022-05-29"].to_numpy(float)
    quantiles = baseline_quantiles(history, 11, np.random.default_rng(0))
    wis = weighted_interval_score(quantiles, later).wis.mean(axis=1)
    assert wis[:4].mean() == pytest.approx(1582, abs=6)
    assert wis[4:].mean() == pytest.approx(2362, abs=10)


def test_a_run_whose_derivatives_are_zero_under_one_seed_has_no_ranking_and_a_report(copy):
    """A small smoke run: the outbreak dies out under one seed or the other in every draw, so that no share is known."""
    table = pd.read_csv(copy / "sensitivity.csv")
    table.loc[table.measure == "derivative_share", ["index", "low", "high"]] = np.nan
    table.to_csv(copy / "sensitivity.csv", index=False)
    for name in ("sensitivity_ranking", "sensitivity_ranking_admissions", "sensitivity_over_time"):
        with pytest.raises(NotKept):
            ALL[name](RunFiles(copy))
        (copy / "figures" / f"{name}.png").unlink()
    assert ALL["sensitivity_tornado"](RunFiles(copy)).axes
    page = write_report(copy).read_text(encoding="utf-8")
    assert "The parameters cannot be ranked for cases in the forecast weeks" in page
    assert "nan" not in re.sub(r"data:image[^\"]*", "", page).lower().split()
