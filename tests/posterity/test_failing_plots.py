"""A plot that fails costs neither the run nor the other plots: it stays complete, says so in one sentence, and is drawn later."""

import json
import shutil

import pytest

from calib import RunFolder
from epi.reporting import plots
from tests.posterity.test_command import run


def broken(files):
    raise KeyError("North")


@pytest.fixture
def whole(new_study, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(new_study[0] / "run", tmp_path / "run")


def test_one_plot_fails_and_is_drawn_later(whole, monkeypatch):
    name = "forecast_regions"
    (whole / "figures" / f"{name}.png").unlink()
    (whole / "report.html").unlink()
    with monkeypatch.context() as patch:
        patch.setitem(plots.ALL, name, broken)
        found = run("report", whole, cwd=whole.parent)
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert f"could not be drawn: {name} (KeyError: 'North')" in found.stderr
    assert f"posterity report {whole}" in found.stderr
    assert json.loads((whole / "manifest.json").read_text())["status"] == "complete"
    assert len(list((whole / "figures").glob("*.png"))) > 5
    assert "could not be drawn and are missing here: forecast regions." in (whole / "report.html").read_text()
    second = run("report", whole, cwd=whole.parent)
    assert second.returncode == 0, second.stderr
    assert (whole / "figures" / f"{name}.png").is_file()
    assert "could not be drawn" not in (whole / "report.html").read_text()
    assert RunFolder.open(whole).verify().intact


def sealed_then_failing(folder):
    (folder.path / "result.csv").write_text("a\n1\n")
    folder.seal()
    raise RuntimeError("of the drawing")


def test_a_run_that_is_sealed_stays_complete(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "one", {}, 0)
    with pytest.raises(RuntimeError, match="of the drawing"), folder.running():
        sealed_then_failing(folder)
    kept = RunFolder.open(folder.path)
    assert kept.manifest["status"] == "complete"
    assert kept.verify().same == ("result.csv",)


def test_the_command_ends_with_one_when_a_plot_of_a_finished_calibration_fails(new_study, tmp_path, monkeypatch):
    """The run of the fixture is resumed from its own work, so that only its end is made second."""
    place = shutil.copytree(new_study[0], tmp_path / "user")
    manifest = json.loads((place / "run" / "manifest.json").read_text())
    c = manifest["configuration"]
    monkeypatch.setitem(plots.ALL, "forecast_regions", broken)
    found = run(
        "calibrate", c["study"], "--smoke", "--max-steps", c["max_steps"], "--draws", c["draws"], "--scale", c["scale"],
        "--warm-start", c["warm_start"], "-o", "run", "--resume", cwd=place,
    )  # fmt: skip
    assert found.returncode == 1, found.stderr
    assert "Traceback" not in found.stderr
    assert "holds a complete run, but 1 of its" in found.stderr
    assert json.loads((place / "run" / "manifest.json").read_text())["status"] == "complete"
