"""The study over the processes of a torchrun: the same as alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from calib._idata import datasets_of, load_inference_data
from epi.inference.distribute import DistributedSimulator
from tests.experiments.conftest import TINY, command, double_precision

ROOT = Path(__file__).parents[2]
STEPWISE = (*TINY, "--warm-start", "0", "--gradient", "reverse", "--max-steps", "20")


def torchrun(folder, ranks, *arguments, settings=TINY):
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
         "-m", "experiments.nz_calibration", *settings, *arguments, "--output", str(folder)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def children(pid):
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return [int(x) for x in listed.split()]


def timings(folder):
    """Of the phases that are over."""
    manifest = folder / "manifest.json"
    return json.loads(manifest.read_text())["timings"] if manifest.exists() else {}


def rank_of(pid):
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((int(e[5:]) for e in entries if e.startswith(b"RANK=")), None)


def assert_same(folder, alone, groups=None):
    """To rounding: shares of a batch are multiplied in other shapes."""
    found, wanted = (datasets_of(load_inference_data(f / "posterior.nc")) for f in (folder, alone))
    for group in groups or wanted:
        for name, values in wanted[group].data_vars.items():
            np.testing.assert_allclose(
                found[group][name].values, values.values, rtol=1e-6, atol=1e-8, err_msg=f"{group}/{name}"
            )


class Alone:
    """A team of one that remembers its functions: no processes."""

    def __init__(self):
        self.functions = []

    def split(self, function):
        self.functions.append(function)
        return function


def test_a_spread_simulator_is_the_simulator(tiny):
    """Values, reverse gradient and Jacobian pass through rows and back unchanged."""
    from dataclasses import fields

    own = {f.name: getattr(tiny.short, f.name) for f in fields(type(tiny.short))}
    over_processes = DistributedSimulator(**own, team=Alone(), alone=tiny.short)
    z = 0.3 * torch.randn(3, tiny.space.dim, generator=torch.Generator().manual_seed(1))
    gradients = []
    for simulator in (over_processes, tiny.short):
        leaf = z.clone().requires_grad_()
        out = tiny.short.layout.flat(simulator.bind(5)(tiny.space.to_theta(leaf)))
        gradients.append((out.detach(), *torch.autograd.grad(out.sum(), leaf)))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(*(s.with_derived(tiny.space.to_theta(z), 5) for s in (over_processes, tiny.short)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, equal_nan=True)
    for a, b in zip(over_processes.jacobian(z, 5), tiny.short.jacobian(z, 5), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.fixture(scope="module")
def stepwise(tmp_path_factory):
    """A run of one process whose every step makes fresh simulations: nothing in it makes a rounding error large."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    with double_precision():
        result = command(*STEPWISE, "--output", folder)
    assert result.code == 0, result.stderr
    return folder


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path, stepwise):
    process = torchrun(tmp_path / "run", 2, settings=STEPWISE)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["ranks"] == 2
    assert_same(tmp_path / "run", stepwise)


@pytest.mark.slow
def test_two_processes_simulate_what_one_does(tmp_path, finished):
    """Where a rounding error decides when a search ends or whether a chain moves, draws are others; the runs asked for first are not."""
    process = torchrun(tmp_path / "run", 2)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert_same(tmp_path / "run", finished, ("prior", "prior_predictive", "observed_data"))
    found, wanted = (load_file(f / "warm_start.safetensors") for f in (tmp_path / "run", finished))
    for name in ("pool_outputs", "pool_jacobian", "value_outputs"):
        assert len(wanted[name]) > 1
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-6, atol=1e-9 * float(wanted[name].abs().max()))


@pytest.mark.slow
def test_a_rank_killed_in_the_fit_and_resumed_alone(tmp_path, stepwise):
    folder = tmp_path / "run"
    process = torchrun(folder, 2, settings=STEPWISE)
    end = time.monotonic() + 300
    while "prior_predictive" not in timings(folder):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
    worker = next(p for p in children(process.pid) if rank_of(p) == 1)
    os.kill(worker, signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0
    # torchrun may tell rank 0 to stop before it misses rank 1
    assert "of this run died or was ended" in said
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    result = command(*STEPWISE, "--resume", "--output", folder)
    assert result.code == 0, result.stderr
    assert_same(folder, stepwise)


@pytest.mark.gpu
@pytest.mark.slow
def test_two_gpus_give_what_one_gives(tmp_path):
    """Payloads by NCCL. Single precision on the device, so the same within the chance of a draw, not to rounding."""
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    settings = ("--smoke", "--scale", "0.02", "--device", "cuda")
    for ranks in (1, 2):
        process = torchrun(tmp_path / str(ranks), ranks, settings=settings)
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    fits = [json.loads((tmp_path / r / "manifest.json").read_text())["fit"] for r in ("1", "2")]
    assert fits[0]["elbo"] == pytest.approx(fits[1]["elbo"], rel=1e-3)
