"""What a run will take is said beforehand, agrees with what runs took, and a run that cannot fit is refused before it begins."""

import json

import pytest
from click import unstyle

from epi import calibration
from epi.errors import TooLarge
from epi.inference import foretell as foretell_module
from epi.inference.foretell import Foretold, available_gib, foretell, refuse_too_large
from epi.inference.settings import make_config
from tests.conftest import NEW_STUDY, ROOT
from tests.made_up.study import study
from tests.posterity.test_command import run

PEOPLE = 18_000


def told(**settings):
    return foretell(make_config("posterity.template.study", smoke=True, device="cpu", **settings), study, PEOPLE, 2)


def test_memory_agrees_with_a_run_of_the_made_up_study(new_study):
    """The process of the run took what was foretold for it: kernels that need no compiling take a third less."""
    manifest = json.loads((new_study[0] / "run" / "manifest.json").read_text())
    expected = told(max_steps=6, draws=10, scale=0.2, warm_start=2)
    assert 0.55 < manifest["peak_memory_gib"] / expected.ram_gib < 1.15
    assert 0.8 < sum(manifest["simulations"].values()) / expected.simulations < 1.4


def test_memory_agrees_with_a_run_on_a_gpu():
    """The kept run of New Zealand at 1:1 on an H100: memory of the process, and seconds."""
    kept = json.loads((ROOT / "experiments" / "nz_calibration" / "results" / "h100.json").read_text())
    from experiments.nz_calibration.study import study as nz

    settings = {k: v for k, v in kept["configuration"].items() if k not in ("smoke", "device", "study")}
    config = make_config("experiments.nz_calibration.study", smoke=False, device="cpu", **settings)
    expected = foretell(config.model_copy(update={"device": "cuda"}), nz, kept["agents"], kept["cores"])
    assert 0.8 < kept["peak_memory_gib"] / expected.ram_gib < 1.2
    assert 0.7 < sum(kept["seconds"].values()) / expected.seconds < 1.5
    assert expected.gpu_gib > 0


def test_more_agents_take_more_memory_and_time():
    small, large = told(scale=0.1), told(scale=1.0)
    assert large.ram_gib > small.ram_gib
    assert large.seconds > small.seconds
    assert small.gpu_gib == 0


def test_what_cannot_fit_is_refused():
    expected = Foretold(10, 60.0, 8.0, 40.0)
    assert refuse_too_large(expected, (16.0, None)) is None
    assert refuse_too_large(expected, (None, 80.0)) is None
    assert "8.0 GiB of memory, and 7.0 GiB" in str(refuse_too_large(expected, (7.0, 80.0)))
    for have, where in (
        ((4.0, 80.0), "8.0 GiB of memory, and 4.0"),
        ((16.0, 24.0), "40.0 GiB of memory on the GPU, and 24.0"),
    ):
        with pytest.raises(TooLarge, match=where):
            refuse_too_large(expected, have)
    ram, gpu = available_gib()
    assert ram is None or 0 < ram < 1e5
    assert gpu is None


def test_the_limit_of_a_control_group_counts_without_cached_files(tmp_path, monkeypatch):
    for name, text in (
        ("memory.max", "3221225472\n"),
        ("memory.current", "2147483648\n"),
        ("memory.stat", "anon 1\ninactive_file 1073741824\n"),
    ):
        (tmp_path / name).write_text(text)
    group = (tmp_path, "memory.max", "memory.current", "inactive_file")
    monkeypatch.setattr(foretell_module, "CONTROL_GROUPS", (group,))
    found = available_gib()[0]
    assert found is None or found <= 2.0
    (tmp_path / "memory.max").write_text("max\n")
    without = available_gib()[0]
    assert without is None or found is None or without >= found


def test_the_command_says_it_and_makes_nothing(new_study, tmp_path, monkeypatch):
    arguments = ("calibrate", new_study[0] / "my_study", *NEW_STUDY, "-o", "run")
    found = run(*arguments, "--dry-run", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "GiB of memory" in unstyle(found.stderr)
    monkeypatch.setattr(calibration, "available_gib", lambda _: (0.25, None))
    for extra in ((), ("--dry-run",)):
        refused = run(*arguments, *extra, cwd=tmp_path)
        assert refused.returncode == 2
        assert "and 0.2 GiB are free: give fewer agents" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []
