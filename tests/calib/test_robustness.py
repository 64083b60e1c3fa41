"""Kills, full disks and damaged files: nothing is lost, and what happened is said in one sentence."""

import os
import random
import resource
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import xarray as xr

from calib import CheckpointError, FitConfig, Problem, fit, make_flow
from calib._atomic import WriteError, atomic_write_text
from calib._idata import datasets_of, load_inference_data, save_inference_data, to_inference_data
from calib._jacobian_file import load_jacobian, save_jacobian
from calib._runfolder import RunFolder

CONFIG = FitConfig(max_steps=60, stop=None, particles=4, checkpoint_seconds=0.0)


@contextmanager
def full_disk(size):
    """Files may not grow beyond `size` bytes: the write itself fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fitted(folder=None, *, pause=0.0, progress=None):
    def log_likelihood(z, seed, gradient):
        del gradient
        time.sleep(pause)
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=z.dtype)
        return (-2 * (z - 1 + 0.1 * noise) ** 2).sum(-1)

    flow = make_flow("gaussian", 3, seed=0)
    return fit(Problem(3, log_likelihood), flow, CONFIG, folder=folder, resume=folder is not None, progress=progress)


def assert_same_fit(found, wanted):
    for name, weight in wanted.flow.named_parameters():
        assert torch.equal(dict(found.flow.named_parameters())[name], weight), name
    np.testing.assert_array_equal(found.history["elbo"], wanted.history["elbo"])


def test_killed_ten_times_at_random_moments(tmp_path):
    """Each life goes on where the checkpoint of the last one ends; the sum of them is the undisturbed fit, bit for bit."""
    chance = random.Random(7)
    kills = 0
    while kills < 10:
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            fitted(tmp_path, pause=0.05)
            os._exit(0)
        time.sleep(chance.uniform(0.0, 0.5))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the fit was over before ten kills"
        kills += 1
    assert_same_fit(fitted(tmp_path), fitted())


def test_a_full_disk_ends_a_fit_with_a_sentence_and_keeps_the_last_checkpoint(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(state):
        if state.step == 30:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, limit[1]))

    try:
        with pytest.raises(WriteError) as caught:
            fitted(tmp_path, progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    text = str(caught.value)
    assert "checkpoint.safetensors could not be written" in text
    assert "the file that was there is untouched; free space" in text
    assert "\n" not in text
    assert not list(tmp_path.glob(".*")), "half-written files take the room that is missing"
    assert_same_fit(fitted(tmp_path), fitted())


def test_a_first_file_that_does_not_fit(tmp_path):
    with full_disk(100), pytest.raises(WriteError, match="no part of it is left behind"):
        atomic_write_text(tmp_path / "a" / "b.txt", "x" * 1000)
    assert list((tmp_path / "a").iterdir()) == []


def test_netcdf_files_on_a_full_disk(tmp_path):
    """HDF5 would crash the process; the old files stay, and can be read."""
    z, names = np.zeros((40, 3)), ("a", "b", "c")

    def write(value):
        draws = {"a": np.full((1, 4000), value), "b": np.random.default_rng(0).standard_normal((1, 4000))}
        save_inference_data(to_inference_data({"posterior": draws}), tmp_path / "p.nc", {"study": "x"})
        jacobian = np.random.default_rng(0).standard_normal((40, 50, 3))
        save_jacobian(tmp_path / "j.nc", np.full((40, 50), value), jacobian, z, names, {"stream": ["s"] * 50})

    write(1.0)
    with full_disk(2000):
        with pytest.raises(WriteError, match=r"p\.nc could not be written"):
            write(2.0)
        with pytest.raises(WriteError, match=r"j\.nc could not be written"):
            save_jacobian(
                tmp_path / "j.nc", np.zeros((40, 50)), np.ones((40, 50, 3)) * z[:, None], z, names, {"s": ["s"] * 50}
            )
    assert float(datasets_of(load_inference_data(tmp_path / "p.nc"))["posterior"]["a"][0, 0]) == 1.0
    assert float(load_jacobian(tmp_path / "j.nc")["expected"][0, 0]) == 1.0
    assert sorted(os.listdir(tmp_path)) == ["j.nc", "p.nc"]
    assert isinstance(xr.open_dataset(tmp_path / "p.nc", group="posterior", engine="h5netcdf"), xr.Dataset)


def test_a_full_disk_does_not_hide_what_ended_a_run(tmp_path):
    run = RunFolder.create(tmp_path / "run", "study", {"x": list(range(100))}, 0)
    before = (run.path / "manifest.json").read_bytes()
    with full_disk(100), pytest.raises(KeyError, match="beta"), run.running(), run.phase("fit"):
        raise KeyError("beta")
    assert (run.path / "manifest.json").read_bytes() == before


def test_a_run_that_cannot_be_gone_on_with_keeps_its_manifest(tmp_path):
    run = RunFolder.create(tmp_path / "run", "study", {}, 0)
    with run.running():
        pass
    before = (run.path / "manifest.json").read_bytes()
    second = RunFolder.create(tmp_path / "run", "study", {}, 0, resume=True)
    second.count("fit", 3)
    with pytest.raises(CheckpointError), second.running(refused=(CheckpointError,)):
        raise CheckpointError("the checkpoint is cut short")
    assert (run.path / "manifest.json").read_bytes() == before
    new = RunFolder.create(tmp_path / "new", "study", {}, 0)
    with pytest.raises(CheckpointError), new.running(refused=(CheckpointError,)):
        raise CheckpointError("the checkpoint is cut short")
    assert RunFolder.open(new.path).manifest["status"] == "failed"  # there was nothing before
