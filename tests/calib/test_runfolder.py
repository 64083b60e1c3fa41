import json
import multiprocessing
import os
import signal
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


def test_a_number_that_is_not_finite_is_refused_by_name(tmp_path):
    run = create(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"'sampler' .* not finite"):
        run.update(sampler={"r_hat": float("nan")})
    assert "sampler" not in run.manifest


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
    second = create(run.path, resume=True)
    with second.running():
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
    assert sorted(os.listdir(run.path)) == [".lock", ".owner.json", "manifest.json"]


def test_resume_continues_counts_and_allows_free_settings(tmp_path):
    run = create(tmp_path / "run")
    run.count("fit", 5)
    run.flush()
    second = create(run.path, resume=True, configuration=CONFIGURATION | {"minutes": 20}, free=("minutes",))
    second.count("fit", 5)
    second.flush()
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


def sleep_in_a_run(path, started):
    run = create(path, resume=True)
    with run.running(), run.phase("fit"):
        started.set()
        time.sleep(60)


@pytest.fixture
def other_process():
    """Starts a process that is in the middle of a run: forked, so that it imports nothing anew."""
    context, processes = multiprocessing.get_context("fork"), []

    def start(path):
        started = context.Event()
        processes.append(context.Process(target=sleep_in_a_run, args=(path, started)))
        processes[-1].start()
        assert started.wait(60)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_two_processes_in_one_folder_are_refused_and_a_dead_owner_is_followed(tmp_path, other_process):
    path = tmp_path / "run"
    process = other_process(path)
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(RunFolderError, match=f"is being written by process {process.pid} on "):
        create(path, resume=True)
    assert (path / "manifest.json").read_bytes() == before
    process.kill()
    process.join()
    (path / ".posterior.abc.tmp.nc").write_text("half")  # as a kill inside a write leaves it
    run = create(path, resume=True)
    assert f"An earlier process {process.pid}" in run.manifest["notices"][0]
    assert not (path / ".posterior.abc.tmp.nc").exists()
    with run.running():
        pass
    assert read(path)["status"] == "complete"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_leave_a_true_manifest_and_a_folder_that_can_be_resumed(tmp_path, other_process, number):
    path = tmp_path / "run"
    process = other_process(path)
    os.kill(process.pid, number)
    process.join(timeout=20)
    assert process.exitcode != 0
    manifest = read(path)
    assert manifest["status"] == "interrupted"
    assert manifest["error"] == f"ended by {number.name}"
    assert "fit" in manifest["timings"]
    with create(path, resume=True).running():
        pass
    assert read(path)["status"] == "complete"
    assert read(path)["notices"] == []


def test_files_are_verified_by_their_checksums(tmp_path):
    run = create(tmp_path / "run")
    with pytest.raises(RunFolderError, match="has no checksums"):
        run.verify()
    with run.running():
        for name in ("a.csv", "plots/b.txt", "c.txt"):
            run.file(name).write_text(name)
    found = RunFolder.open(run.path).verify()
    assert found.intact
    assert set(found.same) == {"a.csv", "plots/b.txt", "c.txt"}
    run.file("a.csv").write_text("A.csv")
    run.file("c.txt").unlink()
    run.file("d.txt").write_text("new")
    found = RunFolder.open(run.path).verify()
    assert (found.changed, found.missing, found.added, found.intact) == (("a.csv",), ("c.txt",), ("d.txt",), False)


def test_a_changed_manifest_is_told(tmp_path):
    """Of a complete run; while a run works, and of one that is resumed, there is no seal."""
    run = create(tmp_path / "run")
    assert not (run.path / ".manifest.sha256").exists()
    with run.running():
        run.file("a.csv").write_text("a")
        run.seal()
        run.update(agents=5)  # after the seal, as the plots do
    kept = RunFolder.open(run.path)
    assert kept.intact()
    assert kept.verify().intact
    file = run.path / "manifest.json"
    file.write_text(file.read_text().replace('"agents": 5', '"agents": 6'))
    changed = RunFolder.open(run.path)
    assert not changed.intact()
    assert changed.verify().changed == ("manifest.json",)
    second = create(run.path, resume=True)
    assert second.intact()
    assert not (run.path / ".manifest.sha256").exists()
    with second.running():
        pass
    assert RunFolder.open(run.path).verify().intact
