"""The sensitivity report on a tiny finished run: what it writes, that level 1 simulates nothing, and what it says to bad input."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import typer
import xarray as xr
from typer.testing import CliRunner

from calib._jacobian_file import load_jacobian, save_jacobian
from calib._runfolder import RunFolder
from epi.data import Layout
from epi.model import Simulator, parameter_space
from epi.sensitivity import all_rates as level_two
from epi.sensitivity import saved as kept
from epi.sensitivity.compare import on_functions
from epi.sensitivity.known_functions import additive_normal, all_functions
from epi.sensitivity.local import kept_labels, zero_shot
from epi.sensitivity.outputs import labels_of, make_output
from epi.sensitivity.reference import (
    PURPOSE,
    Columns,
    believed,
    columns_of,
    load_reference,
    make_reference,
    reliability,
)
from epi.sensitivity.reference_designs import morris, one_at_a_time
from epi.sensitivity.screen import extra_inputs
from epi.sensitivity.simulate import Work
from epi.sensitivity.workers import Recipe, Workers
from experiments.sensitivity.__main__ import main
from tests.experiments import nz
from tests.experiments.synthetic_run import make_run

APP = typer.Typer()
APP.command()(main)


def report(*arguments):
    return CliRunner().invoke(APP, [str(x) for x in arguments])


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder as a run of this version of the model leaves it, its Jacobians those of a log-linear toy."""
    folder = make_run(tmp_path_factory.mktemp("made") / "run", draws=80, kept=30)
    space, rng = parameter_space(nz.study), np.random.default_rng(0)
    labels = labels_of(Layout(nz.study, nz.CALENDAR.weeks()), "2022-03-20")
    expected = rng.uniform(50, 100, (40, len(labels.stream)))
    slopes = expected[..., None] * (
        0.1 * rng.standard_normal(space.dim) + 0.02 * rng.standard_normal((40, 1, space.dim))
    )
    sentence = {"stream": labels.stream, "week": labels.week, "place": labels.place}
    save_jacobian(folder / "jacobian.nc", expected, slopes, rng.standard_normal((40, space.dim)), space.names, sentence)
    rows = space.describe().to_dict("records")
    kept = ("name", "unit", "family", "reason")
    parameters = [{k: r[k] for k in kept} | {f"prior_{k}": r[k] for k in ("median", "low", "high")} for r in rows]
    RunFolder.open(folder).update(parameters=parameters)
    return folder


@pytest.fixture
def copy(made, tmp_path):
    folder = tmp_path / "calibration"
    shutil.copytree(made, folder)
    return folder


@pytest.fixture
def work(tiny):
    return Work(tiny.full, 0, 4)


@pytest.fixture
def labels(tiny):
    return labels_of(tiny.full.layout, "2022-03-20")


def test_level_one_makes_no_simulation(made, tmp_path, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("level 1 simulated")

    monkeypatch.setattr(Simulator, "bind", forbidden)
    monkeypatch.setattr("sim.epidemic", forbidden)
    result = report("--from", made, "--output", tmp_path / "out", "--levels", "1", "--of", "cases")
    assert result.exit_code == 0, result.output
    assert "with 0 simulations" in result.stderr
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    facts = json.loads((tmp_path / "out/summary.json").read_text())
    assert manifest["simulations"] == {}
    assert facts["level1"]["simulations"] == 0
    table = pd.read_csv(tmp_path / "out/level1.csv")
    shares = table[(table["measure"] == "posterior_share") & (table["level"] == "parameter")]
    np.testing.assert_allclose(shares.groupby("output")["index"].sum(), 1, atol=1e-5)
    page = (tmp_path / "out/report.html").read_text()
    assert "0 simulations" in page
    assert "http" not in page.split("<style>")[0]


def test_the_timing_follows_the_quotient_rule(made, labels):
    jacobian = load_jacobian(made / "jacobian.nc")
    timing = make_output("timing", labels)
    flat = jacobian["expected"].values[:3].astype(float)
    step = 1e-4 * np.random.default_rng(0).standard_normal(flat.shape)
    slope = (timing.slope(flat) * step).sum(1)
    np.testing.assert_allclose(
        (timing.value(flat + step) - timing.value(flat - step)) / 2, slope, rtol=1e-5, atol=1e-12
    )
    assert ((timing.value(flat) > 0) & (timing.value(flat) < 17)).all()
    (result,) = zero_shot(jacobian, [timing], np.random.default_rng(0), 20)
    assert result.unit == "weeks"
    assert kept_labels(jacobian, nz.study, "2022-03-20").weeks == labels.weeks


@pytest.mark.parametrize(
    ("text", "name", "places"),
    [
        ("cases", "cases, forecast weeks", 20 * 11),
        ("cases:Auckland@2022-03-06", "cases in Auckland, week ending 2022-03-06", 1),
        ("admissions:70+@2022-02-06..2022-05-29", "admissions at age 70+, all weeks", 17),
        ("infections@2022-03-06..2022-03-13", "infections, weeks ending 2022-03-06 to 2022-03-13", 40),
    ],
)
def test_outputs_by_their_text(labels, text, name, places):
    output = make_output(text, labels)
    assert output.name == name
    assert output.weights.sum() == places


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--of", "peak"), "not known"),
        (("--of", "cases:Atlantis"), "Atlantis"),
        (("--of", "deaths:Auckland"), "choose of 0-9"),
        (("--of", "cases@2023-01-01"), "kept weeks ending"),
        (("--levels", "7"), "Level '7'"),
        (("--smoke", "--thorough"), "choose one"),
        (("--reference", "33"), "powers of two"),
        (("--draws", "3"), "draws = 3"),
        (("--device", "tpu"), "'tpu'"),
        (("--levels", "1,reference"), "with others"),
        (("--reference-file", "absent.nc"), "no file absent.nc"),
    ],
)
def test_bad_settings_are_told_in_a_sentence(made, tmp_path, arguments, sentence):
    result = report("--from", made, "--output", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_bad_folders_are_told_in_a_sentence(copy, tmp_path):
    def told(sentence, folder=copy):
        result = report("--from", folder, "--output", tmp_path / "out", "--levels", "1")
        assert result.exit_code == 2
        assert sentence in result.stderr.replace("\n", " ")
        assert not (tmp_path / "out").exists()

    told("no run", tmp_path)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"study": "measles"}))
    told("'measles'")
    (copy / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
    told("'running'")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    whole = load_jacobian(copy / "jacobian.nc")
    whole.rename({"output_week": "output_month"}).to_netcdf(copy / "jacobian.nc", engine="h5netcdf")
    told("does not say what its outputs are")
    whole.isel(draw=slice(0, 4)).to_netcdf(copy / "jacobian.nc", engine="h5netcdf")
    told("holds 4 draws")
    spoilt = whole.copy(deep=True)
    spoilt["jacobian"][:] = np.nan
    spoilt.to_netcdf(copy / "jacobian.nc", engine="h5netcdf")
    told("is finite in its values")
    flat = whole.copy(deep=True)
    flat["jacobian"][:] = 0.0
    flat.to_netcdf(copy / "jacobian.nc", engine="h5netcdf")
    told("does not change with any parameter")
    whole.isel(parameter=slice(0, 5)).to_netcdf(copy / "jacobian.nc", engine="h5netcdf")
    told("different runs")
    (copy / "jacobian.nc").write_bytes(b"cut short")
    told("damaged")
    (copy / "jacobian.nc").unlink()
    told("lacks jacobian.nc")


def test_a_second_report_does_not_overwrite_the_first(made, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    result = report("--from", made, "--output", tmp_path / "out", "--levels", "1")
    assert result.exit_code == 2
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_every_input_against_a_chain_of_calibrated_ones(work, tiny, labels):
    """Rates scale with transmission_community: the elasticities of the community's days add up to its own."""
    output = make_output("infections@2022-02-06..2022-05-29", labels)
    z = np.zeros(tiny.space.dim)
    data = level_two.every_input(work, z, [output], 2, lambda n: None)
    _, slope = work.gradients(np.zeros((2, tiny.space.dim)), [output], "x", 50)
    at = tiny.space.names.index("transmission_community")
    scale = 0.4  # d log transmission / d z, the prior's standard deviation
    assert float(data["transmission"].sel(venue="community").sum()) * scale == pytest.approx(
        slope[:, 0, at].mean(), rel=1e-6
    )
    assert data.attrs["inputs"] > 45_000
    assert np.isfinite(data["transmission_se"]).all()
    assert work.ledger.runs == {level_two.PURPOSE: 2, "x": 2}
    top = level_two.ranked(data, 0, 10)
    assert (top["elasticity"].abs().diff().dropna() <= 1e-9).all()


def test_extra_inputs_are_factors_of_the_rates(work, tiny, labels):
    extra = extra_inputs(tiny.full)
    assert len(extra.names) + work.dim >= 940
    output = make_output("infections@2022-02-06..2022-05-29", labels)
    z = np.zeros((2, work.dim + len(extra.names)))
    values, slope = work.gradients(z, [output], "x", 1, extra=extra)
    plain, own = work.gradients(z[:, : work.dim], [output], "x", 1)
    np.testing.assert_allclose(values, plain)
    np.testing.assert_allclose(slope[..., : work.dim], own, rtol=1e-9, atol=1e-9)
    days = [i for i, g in enumerate(extra.groups) if g == "community, each day"]
    at = tiny.space.names.index("transmission_community")
    np.testing.assert_allclose(slope[:, 0, work.dim :][:, days].sum(1) / extra.sd, own[:, 0, at] / 0.4, rtol=1e-6)


def small_reference(work, file, count=16):
    outputs = [make_output(text, labels_of(work.simulator.layout, "2022-03-20")) for text in ("cases", "timing")]
    columns = columns_of(("aversion", "drift[1]", "drift[2]"))
    at = [
        work.simulator.space.names.index("aversion"),
        *np.flatnonzero([n.startswith("drift") for n in work.simulator.space.names])[:2],
    ]
    members = tuple(tuple(int(at[i]) for i in group) for group in columns.members)
    columns = Columns(columns.names, members, columns.sites)
    return make_reference(work, columns, outputs, count, file, "a machine", lambda n: None), outputs


def test_a_killed_reference_goes_on(work, tmp_path):
    file = tmp_path / "reference.nc"
    whole, outputs = small_reference(work, file)
    assert whole.columns.names == ("aversion", "drift", "drift[1]", "drift[2]")
    assert whole.values.shape == (16, 6, 2, 2)
    made = work.ledger.runs[PURPOSE]
    with xr.open_dataset(file, engine="h5netcdf") as data:
        half = data.load().isel(draw=slice(0, 8))
    half.to_netcdf(file, engine="h5netcdf")
    second, _ = small_reference(work, file)
    np.testing.assert_array_equal(whole.values, second.values)
    assert work.ledger.runs[PURPOSE] == 1.5 * made == second.runs * 1.5
    with pytest.raises(ValueError, match="another analysis"):
        small_reference(work, file, 32)
    taken = believed(file, work, outputs)
    np.testing.assert_array_equal(taken.values, second.values)
    assert taken.indices(outputs[0], np.random.default_rng(0)).total.value.shape == (4,)
    assert reliability(taken, outputs[0], np.random.default_rng(0))["half_width"] > 0


def test_a_reference_of_another_model_is_not_believed(work, tiny, tmp_path):
    file = tmp_path / "reference.nc"
    _, outputs = small_reference(work, file)
    with xr.open_dataset(file, engine="h5netcdf") as data:
        held = data.load()
    other = held.copy(deep=True)
    other["values"] *= 1.3
    other.to_netcdf(file, engine="h5netcdf")
    with pytest.raises(ValueError, match="made again and differ by"):
        believed(file, work, outputs)
    held.assign_attrs(problem="of others").to_netcdf(file, engine="h5netcdf")
    with pytest.raises(ValueError, match="other parameters, priors"):
        believed(file, work, outputs)
    held.drop_vars("point").to_netcdf(file, engine="h5netcdf")
    with pytest.raises(ValueError, match="no runs of a reference"):
        load_reference(file)
    file.write_bytes(b"cut short")
    with pytest.raises(ValueError, match="damaged"):
        load_reference(file)
    with pytest.raises(FileNotFoundError, match="no file"):
        load_reference(tmp_path / "absent.nc")


def test_a_level_is_a_mean_and_a_count_a_sum(labels):
    deaths, occupancy, water = (make_output(t, labels) for t in ("deaths", "occupancy", "wastewater"))
    assert deaths.weights.sum() == 11 * 8
    assert occupancy.weights.sum() == pytest.approx(20)
    assert water.weights.sum() == pytest.approx(1)
    assert "(mean)" in water.name


def test_kept_gradients_are_taken_up_again(tmp_path):
    made = []

    def make():
        made.append(1)
        rng = np.random.default_rng(len(made))
        return [(rng.standard_normal((4, 2)), rng.standard_normal((4, 2, 3))) for _ in range(3)]

    first, second = (kept.gradients(tmp_path / "g.nc", "a", make) for _ in range(2))
    assert len(made) == 1
    for (f, g), (f2, g2) in zip(first, second, strict=True):
        np.testing.assert_array_equal(f, f2)
        np.testing.assert_array_equal(g, g2)
    kept.gradients(tmp_path / "g.nc", "another", make)
    assert len(made) == 2
    (tmp_path / "g.nc").write_bytes(b"cut short")
    with pytest.raises(ValueError, match="damaged"):
        kept.gradients(tmp_path / "g.nc", "a", make)


@pytest.mark.slow
def test_workers_give_what_one_process_gives(finished, tmp_path):
    recipe = Recipe(str(finished), 0.001, 0, 2, 0)
    alone = recipe.build()
    z = np.random.default_rng(0).standard_normal((5, alone.dim))
    output = make_output("infections@2022-02-06..2022-05-29", labels_of(alone.simulator.layout, "2022-03-20"))
    with Workers(recipe, 2) as workers:
        shared = replace(alone, workers=workers)
        np.testing.assert_array_equal(alone.values(z, "a", 1), shared.values(z, "b", 1))
        mine, theirs = (w.gradients(z[:3], [output], p, 2) for w, p in ((alone, "c"), (shared, "d")))
    # to rounding: shares of a batch are multiplied in other shapes
    np.testing.assert_allclose(mine[1], theirs[1], rtol=1e-10, atol=1e-10 * np.abs(mine[1]).max())
    assert shared.ledger.runs == {"a": 5, "b": 5, "c": 3, "d": 3}


def test_level_one_uses_a_second_random_stream(made, tmp_path, labels):
    """Noise of the gradients leaves the mean square where the file holds Jacobians of a second stream."""
    held = load_jacobian(made / "jacobian.nc")
    rng = np.random.default_rng(1)
    # one number a draw and parameter, the same for all outputs: noise that no sum over outputs averages away
    noise = [
        2 * np.abs(held["jacobian"].values).mean() * rng.standard_normal((40, 1, held.sizes["parameter"])) for _ in "12"
    ]
    sentence = {key: held[f"output_{key}"].values.tolist() for key in ("stream", "week", "place")}
    truth = held["jacobian"].values
    names = [str(n) for n in held["parameter"].values]
    files = []
    for second in (None, truth + noise[1]):
        file = tmp_path / f"{len(files)}.nc"
        save_jacobian(file, held["expected"].values, truth + noise[0], held["z"].values, names, sentence, second)
        files.append(load_jacobian(file))
    output = make_output("infections@2022-02-06..2022-05-29", labels)
    nu = [zero_shot(file, [output], rng, 50)[0].measures["nu"].value.sum() for file in (held, *files)]
    assert nu[1] > 1.5 * nu[0]
    assert nu[2] == pytest.approx(nu[0], rel=0.25)


def test_baselines_rank_an_additive_function():
    f = additive_normal()
    for method, size in ((morris, 8), (one_at_a_time, 2)):
        answer = method(f.values, f.dim, size, 0)
        assert list(np.argsort(-answer.score)[:3]) == [0, 1, 2]
        assert answer.runs > 0
        assert answer.seconds > 0


def test_salib_dgsm_is_no_bound_for_normal_priors_and_ours_is():
    table = on_functions([f for f in all_functions() if "additive, normal" in f.name], 300, 0).set_index("method")
    assert table.loc["SALib DGSM", "below_total"] > 0
    ours = table[table["measure"] == "upper bound"].loc["gradients, this project"]
    assert ours["below_total"] == 0
    assert ours["largest_error"] < 0.1


@pytest.mark.slow
def test_the_whole_report(finished, tmp_path):
    torch.set_default_dtype(torch.float64)
    second = ("--from", finished, "--output", tmp_path / "out", "--smoke", "--check", "--scale", "0.002")
    result = report(*second, "--levels", "1,2,3,compare")
    assert result.exit_code == 0, result.output
    files = {p.name for p in (tmp_path / "out").iterdir()}
    assert files >= {
        "global.csv",
        "comparison.csv",
        "projected.csv",
        "functions.csv",
        "check.csv",
        "report.html",
        "survivors.csv",
    }
    runs = json.loads((tmp_path / "out/manifest.json").read_text())["simulations"]
    result = report(*second, "--resume", "--reference-file", tmp_path / "out/reference.nc")
    assert result.exit_code == 0, result.output
    after = json.loads((tmp_path / "out/manifest.json").read_text())["simulations"]
    for purpose in ("global, prior, reverse", "global, posterior, reverse", "sobol, two replicates", "baselines"):
        assert after[purpose] == runs[purpose]
