import json
import os
import time

import pytest

from calib._runfolder import RunFolder, RunFolderError, peak_memory_gib, versions

CONFIGURATION = {"scale": 0.02, "bands": (1, 2), "minutes": 10}


def create(path, **changes):
    arguments = {"study": "s", "configuration": CONFIGURATION, "seed": 1} | changes
    return RunFolder.create(path, **arguments)


def read(path):
    return json.loads((path / "manifest.json").read_text())


def test_a_new_run_says_what_it_is(tmp_path):
    run = create(tmp_path / "a" / "run", device="cpu, 2 threads")
    manifest = read(run.path)
    assert manifest["status"] == "running"
    assert manifest["configuration"] == {"scale": 0.02, "bands": [1, 2], "minutes": 10}
    assert manifest["versions"]["torch"] == versions()["torch"]
    assert manifest["device"] == "cpu, 2 threads"
    assert manifest["peak_memory_gib"] > 0
    assert peak_memory_gib() < 1000


def test_phases_counts_skips_and_notices_add_up(tmp_path):
    run = create(tmp_path / "run")
    for _ in range(2):
        with run.phase("fit"):
            time.sleep(0.02)
            run.count("fit", 8)
    run.skip("steps")
    run.notice("A shorter fit than usual.")
    run.notice("A shorter fit than usual.")
    run.update(parameters=[{"name": "x"}])
    manifest = read(run.path)
    assert 0.04 <= manifest["timings"]["fit"] < 2
    assert manifest["simulations"] == {"fit": 16}
    assert manifest["skipped"] == {"steps": 1}
    assert manifest["notices"] == ["A shorter fit than usual."]
    assert manifest["parameters"] == [{"name": "x"}]


def test_counting_writes_seldom_but_a_phase_flushes(tmp_path):
    run = create(tmp_path / "run")
    before = os.stat(run.path / "manifest.json").st_mtime_ns
    with run.phase("fit"):
        for _ in range(100):
            run.count("fit")
        assert os.stat(run.path / "manifest.json").st_mtime_ns == before
    assert read(run.path)["simulations"] == {"fit": 100}


def test_a_failed_phase_is_timed_and_the_status_says_why(tmp_path):
    run = create(tmp_path / "run")

    def fails():
        with run.running(), run.phase("fit"):
            raise FloatingPointError("too many skipped steps")

    with pytest.raises(FloatingPointError):
        fails()
    manifest = read(run.path)
    assert manifest["status"] == "failed"
    assert manifest["error"] == "FloatingPointError: too many skipped steps"
    assert "fit" in manifest["timings"]
    again = create(run.path, resume=True)
    with again.running():
        pass
    assert read(run.path)["status"] == "complete"
    assert len(read(run.path)["resumed"]) == 1
    assert read(run.path)["error"] is None


def test_another_run_is_left_alone(tmp_path):
    run = create(tmp_path / "run")
    before = (run.path / "manifest.json").read_bytes()
    for changes in ({"seed": 2}, {"study": "t"}, {"configuration": CONFIGURATION | {"scale": 0.05}}):
        with pytest.raises(RunFolderError, match="holds another run"):
            create(run.path, resume=True, **changes)
    with pytest.raises(RunFolderError, match=r"scale = 0\.02 there and 0\.05 here"):
        create(run.path, configuration=CONFIGURATION | {"scale": 0.05})
    with pytest.raises(RunFolderError, match="holds this run already"):
        create(run.path)
    assert (run.path / "manifest.json").read_bytes() == before
    assert os.listdir(run.path) == ["manifest.json"]


def test_resume_continues_counts_and_allows_free_settings(tmp_path):
    run = create(tmp_path / "run")
    run.count("fit", 5)
    run.flush()
    again = create(run.path, resume=True, configuration=CONFIGURATION | {"minutes": 20}, free=("minutes",))
    again.count("fit", 5)
    again.flush()
    assert read(run.path)["simulations"] == {"fit": 10}
    assert read(run.path)["configuration"]["minutes"] == 20


def test_resume_starts_a_run_where_there_is_none(tmp_path):
    assert create(tmp_path / "new", resume=True).manifest["resumed"] == []


def test_foreign_and_damaged_folders_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"holds files but no manifest\.json"):
        create(tmp_path)
    with pytest.raises(RunFolderError, match="is a file"):
        create(tmp_path / "notes.txt")
    with pytest.raises(RunFolderError, match="holds no manifest"):
        RunFolder.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1, "study"')
    with pytest.raises(RunFolderError, match="is damaged"):
        create(tmp_path, resume=True)
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(RunFolderError, match="lacks configuration"):
        RunFolder.open(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["manifest.json", "notes.txt"]


def test_errors_are_one_sentence_and_value_errors(tmp_path):
    run = create(tmp_path / "run")
    with pytest.raises(ValueError) as caught:
        create(run.path, seed=9)
    assert "\n" not in str(caught.value)
