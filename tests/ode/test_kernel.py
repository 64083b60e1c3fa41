"""The course as one kernel against plain tensors: on a CUDA device where there is one, else in triton's interpreter on the CPU.

The interpreter must be asked for before triton is imported, and importing torch may import triton: it runs in a process of its own.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

import ode
from ode import _course
from tests.ode.kernel_checks import CHECKS, Checks

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed (it comes for Linux on x86-64)"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
HOSTS = ode.archetypes_by_age_and_dose(age_midpoints=(35.0,))

INTERPRETED = """
import torch
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
from tests.ode.kernel_checks import CHECKS, Checks
cpu = torch.device("cpu")
for name in CHECKS:
    # few steps, since each takes the interpreter long; the flag needs steps that are stable
    days, step = (1, 0.125) if name == "flags" else (1, 0.25) if name in ("forward_mode", "transforms") else (2, 0.25)
    getattr(Checks(cpu, torch.float64, days, step), name)()
Checks(cpu, torch.float32, 1, 0.125).values()
"""


@needs_triton
def test_interpreted_on_the_cpu_it_equals_plain_tensors():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", INTERPRETED], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.gpu
@needs_gpu
@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("check", CHECKS)
def test_on_a_gpu_it_equals_plain_tensors(check, dtype):
    torch.set_default_dtype(dtype)
    getattr(Checks(torch.device("cuda"), dtype, days=14, step=0.125), check)()


@pytest.mark.gpu
@needs_gpu
@needs_triton
def test_on_a_gpu_it_is_taken_unasked_and_equals_double_precision():
    device = torch.device("cuda")
    draws = ode.prior_draws(500, torch.Generator().manual_seed(0))
    single = ode.WithinHostParameters(**{n: getattr(draws, n).to(device, torch.float32) for n in vars(draws)})
    hosts = ode.archetypes_by_age_and_dose()
    ours = ode.within_host(single, hosts.to(device, torch.float32))
    asked = ode.within_host(single, hosts.to(device, torch.float32), solver="kernel")
    assert torch.equal(ours.viral_load, asked.viral_load)
    exact = ode.within_host(draws, hosts)
    assert ours.finite.all()
    error = (ode.infectiousness(ours.viral_load).cpu().double() - ode.infectiousness(exact.viral_load)).abs().max()
    assert error < 1e-4


def test_a_cpu_takes_plain_tensors():
    assert not _course.takes_kernel(torch.zeros(4, 3), "auto")
    assert not _course.takes_kernel(torch.zeros(4, 3), "plain")


@pytest.mark.parametrize(
    ("solver", "said"), [("kernels", "'auto', 'plain' or 'kernel'"), ("kernel", "use solver='plain'")]
)
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter is asked for")
def test_a_solver_that_cannot_run_is_refused(solver, said):
    with pytest.raises(ValueError, match=said):
        ode.within_host(ode.prior_median(), HOSTS, solver=solver)


def test_the_kernel_refuses_a_treatment_and_half_precision():
    with pytest.raises(ValueError, match="with a treatment"):
        ode.within_host(ode.prior_median(), HOSTS, treatment=ode.Treatment(booster_day=2.0), solver="kernel")
    assert not _course.takes_kernel(torch.zeros(4, 3, dtype=torch.float16), "auto")
    if _course._has_triton():
        with pytest.raises(ValueError, match="float32 or float64"):
            _course.takes_kernel(torch.zeros(4, 3, dtype=torch.float16), "kernel")
