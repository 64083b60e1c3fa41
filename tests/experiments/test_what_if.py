"""Questions: worlds, levers, the registry, the command, and what it refuses."""

import math
import shutil
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from calib._idata import save_inference_data, to_inference_data
from calib._runfolder import RunFolder
from epi.errors import StudyError
from epi.model.observation import observe
from epi.model.transmission import host_tables
from epi.outputs.reload import Fitted, rebuild
from epi.scenarios import run as _run
from epi.scenarios.interventions import isolated, moved_campaign, usual_test_delay
from epi.scenarios.outcome import MEASURES, outcome
from epi.scenarios.people import share_soon, tell_apart
from epi.scenarios.registry import load_scenarios
from epi.scenarios.scenario import Question, check_world, choose, plus, to
from epi.scenarios.summary import averted, curves, peak_in_hospital
from epi.scenarios.worlds import run_looped, run_together
from experiments.what_if import __main__ as command
from tests.experiments import nz
from tests.experiments.conftest import SCALE, double_precision

QUESTIONS = load_scenarios("experiments.nz_calibration.study")

DRAWS = 4
TEST_DELAY, ISOLATION_DAYS = usual_test_delay(nz.study), nz.study.measures.isolation_days
CONFIG = {
    "study": nz.SOURCE,
    "streams": list(nz.DEFAULT),
    "scale": SCALE,
    "balance": 0.5,
    "seed": 0,
    "device": "cpu",
    "particles": 4,
    "smoke": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny):
    """A run's folder with prior draws near the median in place of a posterior: all that a question reads."""
    path = tmp_path_factory.mktemp("what_if") / "run"
    with double_precision():
        run = RunFolder.create(path, "nz_calibration", CONFIG, 0)
        z = 0.3 * torch.randn(DRAWS, tiny.space.dim, generator=torch.Generator().manual_seed(1))
        theta = tiny.space.to_theta(z)
        with torch.no_grad():
            expected = tiny.full.bind(0)(theta)
    weeks = [str(w.date()) for w in nz.CALENDAR.weeks()]
    groups = {
        "forecast_draws": {name: value.numpy()[None] for name, value in theta.items()},
        "posterior_predictive": {"infections_district": expected["infections_district"].numpy()[None]},
    }
    dims = {"infections_district": ["week", "district"]} | {
        p.name: [f"{p.name}_entry"] for p in tiny.space.parameters if p.shape
    }
    save_inference_data(to_inference_data(groups, coords={"week": weeks}, dims=dims), path / "posterior.nc")
    run.update(status="complete")
    return path


@pytest.fixture(scope="module")
def asked(folder):
    with double_precision():
        return _run.prepare(rebuild(folder), None, seed=3)


@pytest.fixture(scope="module")
def worlds(asked):
    return _run.worlds_of(asked, list(QUESTIONS.values()))


@pytest.fixture(scope="module")
def looped(asked, worlds):
    with double_precision():
        return run_looped(asked.simulator, asked.theta, list(worlds.values()), asked.seed, batch=2)


def test_worlds_looped_and_in_one_batch_agree_exactly(asked, worlds, looped):
    together = run_together(asked.simulator, asked.theta, list(worlds.values()), asked.seed, batch=4)
    for name in MEASURES:
        assert torch.equal(getattr(together, name), getattr(looped, name)), name


def test_the_calibrated_world_is_the_study(asked, looped):
    base, theta = asked.fitted.simulator, asked.theta
    with torch.no_grad():
        expected = base.bind(asked.seed, torch.arange(2))({n: x[:2] for n, x in theta.items()})
    torch.testing.assert_close(looped.infections[0, :2].sum(-1), expected["infections_district"])
    torch.testing.assert_close(looped.admissions[0, :2].sum(-2), expected["admissions_age"])
    torch.testing.assert_close(looped.deaths[0, :2].sum(-2), expected["deaths_age"])


def test_every_world_differs_from_its_reference(worlds, looped):
    names = list(worlds)
    for question in QUESTIONS.values():
        reference = question.name + _run.AGAINST if question.against else _run.CALIBRATED
        one, other = (looped.infections[names.index(w)] for w in (question.name, reference))
        assert not torch.equal(one, other), question.name


def test_people_would_be_worse_off_without_vaccine(worlds, looped):
    names = list(worlds)
    factual, without = (looped.admissions[names.index(w)].sum((1, 2, 3)) for w in (_run.CALIBRATED, "no-vaccination"))
    assert (without > factual).all()


def test_an_action_on_a_parameter_of_the_study_is_that_parameter_changed(asked):
    change = {"transmission_community": lambda value: 0.5 * value}
    done = run_looped(asked.simulator, asked.theta, [change], asked.seed)
    theta = {**asked.theta, "transmission_community": 0.5 * asked.theta["transmission_community"]}
    by_hand = run_looped(asked.simulator, theta, [{}], asked.seed)
    assert torch.equal(done.infections, by_hand.infections)


def test_no_contact_outside_the_home_from_the_start_leaves_seeding_and_homes(asked):
    shut = {f"contacts_{layer}": to(0.0) for layer in ("school", "work", "community")}
    out = run_looped(asked.simulator, asked.theta, [{}, shut], asked.seed)
    total = out.infections.sum((2, 3, 4))
    assert (total[1] < 0.3 * total[0]).all()
    assert (total[1] > 0).all()


def test_the_same_luck_makes_a_world_without_changes_the_calibrated_one(asked):
    unchanged = {"contacts_school": to(1.0), "red_from": plus(0.0), "test_delay": plus(0.0)}
    out = run_together(asked.simulator, asked.theta, [{}, unchanged], asked.seed)
    assert torch.equal(out.infections[0], out.infections[1])


def test_questions_leave_the_global_random_state_alone(asked):
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    run_together(asked.simulator, asked.theta, [{}, {"doses": to(0.0)}], asked.seed)
    assert torch.equal(before, torch.random.get_rng_state())


def test_isolation_in_closed_form():
    # of those found, a share isolates on a day: between the result and its end
    day = isolated(torch.tensor(TEST_DELAY), torch.tensor(1e9), 60, nz.study)
    assert (day.diff() >= 0).all()
    assert day[-1].item() == pytest.approx(1.0)
    mean = 1 - day[:-1] + 0.0
    assert (mean.sum() + 1).item() == pytest.approx(5.0, abs=0.6)  # mean of the report delay, in whole days
    length = isolated(torch.tensor(TEST_DELAY), torch.tensor(ISOLATION_DAYS), 90, nz.study).sum().item()
    assert length == pytest.approx(ISOLATION_DAYS, abs=1e-6)
    sooner = isolated(torch.tensor(TEST_DELAY - 1.0), torch.tensor(1e9), 60, nz.study)
    torch.testing.assert_close(sooner[:-1], day[1:])


def test_those_boosted_in_the_month_are_given_it_earlier_and_nobody_else_then(asked, epidemic_data):
    kinds, campaign = asked.simulator.kinds, asked.fitted.simulator.context.campaign
    share, since = share_soon(epidemic_data)
    torch.testing.assert_close(
        campaign.share[-1, kinds.two], torch.as_tensor(share)
    )  # in the study, as the register had it
    assert ((since[2:] > 10) & (since[2:] < 40)).all()
    usual = moved_campaign(kinds.hosts.doses, campaign, kinds)
    torch.testing.assert_close(usual.share, campaign.share[:, kinds.alike])
    earlier = kinds.hosts.doses.clone()
    earlier[kinds.soon] = 3.0
    assert not moved_campaign(earlier, campaign, kinds).share.any()
    one = kinds.hosts.doses.clone()
    one[32 + 5] = 3.0  # ages 50-59 alone
    left = moved_campaign(one, campaign, kinds).share[-1]
    assert left[5 * 4 + 2] == left[32 + 5] == 0
    assert left[4 * 4 + 2] == campaign.share[-1, 4 * 4 + 2] > 0
    assert not moved_campaign(torch.zeros(3, 40), campaign, kinds).share.any()


def test_those_boosted_soon_are_told_apart_and_nothing_else(tiny, epidemic_data):
    people, kinds = tell_apart(tiny.population, epidemic_data, 0)
    changed = people.archetype != tiny.population.archetype
    assert (tiny.population.archetype[changed] % 4 == 2).all()
    assert (people.archetype[changed] == 32 + people.group[changed] % 8).all()
    torch.testing.assert_close(kinds.share.sum(1), torch.ones(8))
    share = np.bincount(people.archetype, minlength=40)[32:] / np.bincount(people.group % 8, minlength=8)
    assert np.abs(share - kinds.share[:, 32:].diagonal().numpy()).max() < 0.06
    assert torch.equal(kinds.hosts.doses[32:], torch.full((8,), 2.0))


def test_outcome_adds_up_to_the_observation(asked):
    o, theta = asked.fitted.simulator.observation, {**asked.theta, **asked.simulator.usual()}
    flat = {n: x.expand(DRAWS, *x.shape) if n in asked.simulator.usual() else x for n, x in theta.items()}
    incidence = torch.rand(DRAWS, asked.setting.days, 160, generator=torch.Generator().manual_seed(0))
    hosts = host_tables(flat, asked.fitted.simulator.context)
    got, expected = outcome(flat, hosts, incidence, o), observe(flat, hosts, incidence, o)
    torch.testing.assert_close(got.infections.sum(-1), expected["infections_district"])
    torch.testing.assert_close(got.admissions.sum(-2), expected["admissions_age"])
    torch.testing.assert_close(got.deaths.sum(-2), expected["deaths_age"])
    whole = (o.streams["occupancy_district"].day == o.week).all(
        1
    )  # in the other weeks people in hospital were counted on some days only
    torch.testing.assert_close(got.in_hospital[:, whole], expected["occupancy_district"][:, whole])
    assert (got.needless_isolation == 0).all()


def test_averted_by_hand(asked, worlds, looped):
    data = _run.to_dataset(looped, list(worlds), asked)
    table = averted(data, [QUESTIONS["no-vaccination"], QUESTIONS["faster-test"]])
    row = table[(table.question == "no-vaccination") & (table.measure == "admissions") & (table.place == "Lakes")].iloc[
        0
    ]
    cell = data["admissions"].sel(district="Lakes").sum(("week", "age"))
    difference = cell.sel(world="calibrated").values - cell.sel(world="no-vaccination").values
    assert row["median"] == pytest.approx(np.median(difference))
    assert row.low_95 == pytest.approx(np.quantile(difference, 0.025))
    assert len(table) == 2 * 3 * (1 + 8 + 20)
    fast = table[(table.question == "faster-test") & (table.measure == "infections") & (table.level == "all")].iloc[0]
    reference = data["infections"].sel(world="faster-test (against)").sum(("week", "age", "district")).values
    assert fast.reference_median == pytest.approx(np.median(reference))
    before, after = peak_in_hospital(data, QUESTIONS["no-vaccination"])
    assert (before[2] < after[2], before[2]) == (
        True,
        pytest.approx(np.median(looped.in_hospital[0].sum(-1).amax(-1).numpy())),
    )
    lines = curves(data, [QUESTIONS["no-vaccination"]], ["Lakes"])
    assert set(lines.place) == {"New Zealand", "Lakes"}
    assert (lines.low_95 <= lines["median"]).all()


def test_failed_draws_are_left_out_and_counted(asked, worlds, looped):
    data = _run.to_dataset(looped, list(worlds), asked)
    data["infections"][2, 1] = math.nan
    kept, failed = _run.drop_failed(data)
    assert failed == 1
    assert kept.sizes["draw"] == DRAWS - 1
    data["infections"][:, :3] = math.nan
    with pytest.raises(StudyError, match="Only 1 of 4 draws gave finite"):
        _run.drop_failed(data)


def test_a_particle_out_of_range_gives_nan_and_not_numbers(asked):
    theta = {n: x.clone() for n, x in asked.theta.items()}
    theta["viral_growth"][1] = 40.0
    out = run_looped(asked.simulator, theta, [{}], asked.seed)
    assert torch.isnan(out.infections[0, 1]).all()
    assert torch.isfinite(out.infections[0, [0, 2, 3]]).all()


# what is refused, one sentence each


def question(world, **more):
    return Question("mine", "a test", lambda setting: world, "nothing", "everything", **more)


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ({"masks": to(1.0)}, "changes 'masks', which the model does not have"),
        ({"doses": to(4.0)}, "sets 'doses' to 4, and a number from 0 to 3"),
        ({"contacts_school": to(-0.5)}, "sets 'contacts_school' to -0.5"),
        ({"contacts_school": lambda value: value[:5]}, r"the shape \(5,\)"),
        ({"contacts_school": lambda value: value @ torch.zeros(3)}, "its action on 'contacts_school' failed"),
        ({"red_from": plus(float("nan"))}, "sets 'red_from' to nan"),
        ({"red_from": plus(-100.0)}, "sets 'red_from' to -97"),
        ({"false_positives": to(1.0)}, "sets 'false_positives' to 1"),
    ],
)
def test_a_world_that_makes_no_sense_is_refused(asked, world, message):
    with pytest.raises(StudyError, match=message):
        _run.worlds_of(asked, [question(world)])


def test_an_intervention_outside_the_simulated_days_is_refused(asked):
    for first, last in (
        (date(2022, 1, 1), date(2022, 2, 1)),
        (date(2022, 5, 1), date(2022, 7, 1)),
        (date(2022, 3, 2), date(2022, 3, 1)),
    ):
        with pytest.raises(StudyError, match="the simulated days are 2022-01-20 to 2022-05-29"):
            asked.setting.scaled(first, last, 0.5)
    with pytest.raises(StudyError, match="18 peak weeks were asked for, and there are 17"):
        asked.setting.peak_weeks(18)


def test_an_unknown_question_is_refused():
    with pytest.raises(StudyError, match="no question 'schools'; choose among boosters-earlier"):
        choose(["schools"], QUESTIONS)
    assert [q.name for q in choose(["no-vaccination", "no-vaccination"], QUESTIONS)] == ["no-vaccination"]
    check_world("x", {}, {})


@pytest.mark.parametrize("draws", [1, 5])
def test_more_draws_than_the_run_has_are_refused(asked, draws):
    with pytest.raises(StudyError, match="the run has 4"):
        _run.prepare(asked.fitted, draws, 0)


# the command

APP = typer.Typer()
APP.command()(command.main)


def run_command(*arguments):
    result = CliRunner().invoke(APP, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return SimpleNamespace(
        code=result.exit_code, stdout=result.stdout, stderr=result.stderr, last=lines[-1] if lines else ""
    )


def test_the_command_answers(folder, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "from epi.scenarios.scenario import Question, to\n"
        "SCENARIOS = (Question('no-work', 'Nobody works', lambda s: {'contacts_work': to(0.0)}, 'work', 'the rest'),)\n"
    )
    out = tmp_path / "out"
    done = run_command(
        "--from",
        folder,
        "--output",
        out,
        "--add",
        own,
        "--question",
        "no-work",
        "--region",
        "Lakes",
        "--question",
        "faster-test",
    )
    assert done.code == 0, done.stderr
    assert "no-work" in done.stderr
    for name in (
        "what_if.nc",
        "averted.csv",
        "curves.csv",
        "what_if.html",
        "manifest.json",
        "figures/overview.png",
        "figures/no-work-curves-lakes.png",
    ):
        assert (out / name).stat().st_size > 0, name
    page = (out / "what_if.html").read_text()
    assert "Nobody works" in page
    assert "Change in deaths" in page
    assert "In hospital on a day of the worst week" in page
    assert "http" not in page.split("<body>")[1]
    second = run_command("--from", folder, "--output", out, "--question", "faster-test")
    assert second.code == 2
    assert "holds another run" in second.last


def test_the_list(folder):
    done = run_command("--from", folder, "--list")
    assert done.code == 0
    assert all(name in done.stdout for name in QUESTIONS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--question", "schools"), "There is no question 'schools'; choose among"),
        (("--region", "Atlantis"), "There is no district 'Atlantis'; choose among Northland"),
        (("--worlds", "many"), "Worlds 'many' were asked for"),
        (("--device", "tpu"), "Device 'tpu' was asked for"),
        (("--scale", "2"), "setting scale = 2.0 cannot be used here"),
        (("--draws", "100"), "100 draws were asked for, and the run has 4"),
        (("--add", "missing.py"), "There is no file missing.py"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(folder, tmp_path, arguments, message):
    done = run_command("--from", folder, "--output", tmp_path / "out", *arguments)
    assert done.code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_run_or_without_draws_is_refused(folder, tmp_path):
    nothing = run_command("--from", tmp_path, "--output", tmp_path / "out")
    assert (nothing.code, "holds no manifest.json" in nothing.last) == (2, True)
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "posterior.nc").unlink()
    without = run_command("--from", bare, "--output", tmp_path / "out")
    assert (without.code, "no posterior.nc and so no posterior draws" in without.last) == (2, True)
    other = tmp_path / "other"
    RunFolder.create(other, "another_study", {}, 0)
    foreign = run_command("--from", other, "--output", tmp_path / "out")
    assert (foreign.code, "does not say where its study is" in foreign.last) == (2, True)


def test_draws_of_another_version_are_refused(folder):
    fitted = rebuild(folder)
    assert isinstance(fitted, Fitted)
    from epi.outputs.reload import posterior_draws

    with pytest.raises(StudyError, match="no draws of masks"):
        posterior_draws(fitted.run, {"masks": ()})
    with pytest.raises(StudyError, match=r"aversion in the shape \(\), and this version of the model has \(3,\)"):
        posterior_draws(replace(fitted.run), {"aversion": (3,)})
