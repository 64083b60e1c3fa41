"""All removals on a GPU against the plain reference: on a CUDA device where there is one, else in triton's interpreter on the CPU.

The interpreter takes some 50 microseconds for each operation, so its worlds are of three agents. They run in a process of their own.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from sim import Rates, _removals
from sim._columns import columns
from tests.sim.interpreter import interpreted
from tests.sim.worlds import random_tangents, small_population, some_rates

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed (it comes for Linux on x86-64)"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

PRELUDE = """
from unittest.mock import patch
import torch
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
import sim
from dataclasses import replace
from sim import _reference, _removals_reference, _triton_removals
from sim._columns import columns
from tests.sim.test_removals import everything, three_agents
from tests.sim.worlds import random_tangents
CPU = torch.device("cpu")
population = three_agents()
c = columns(population, CPU)

def same(a, b, tolerance=1e-9):
    for name, x, y in zip(sim.Rates.__annotations__, a.tensors(), b.tensors(), strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance * float(y.abs().max()) if y.numel() else 0.0, msg=name)

def gradient_of(population, rates, seed, backend, weight=1.0):
    leaves = rates.map(lambda x: x.detach().clone().requires_grad_())
    x = sim.epidemic(population, leaves, seed, backend=backend)
    (x * weight).sum().backward()
    return x.detach(), leaves.map(lambda x: torch.zeros_like(x) if x.grad is None else x.grad)
"""


SAME = """
cotangent = torch.randn(past.incidence.shape, generator=torch.Generator().manual_seed(1))
bar = _triton_removals.vjp(c, rates, past, cotangent)
same(bar, _removals_reference.vjp(c, rates, past, cotangent))
tangents = random_tangents(rates, 3)
along = _triton_removals.jvp(c, rates, tangents, past)
assert along.abs().max() > 0.1
torch.testing.assert_close(along, _removals_reference.jvp(c, rates, tangents, past), rtol=1e-9, atol=1e-9)
pairs = zip(bar.tensors(), tangents.tensors(), strict=True)
reverse = sum((x[..., None] * dx).flatten(0, -2).sum(0) for x, dx in pairs)
torch.testing.assert_close(torch.einsum("ptg,ptgq->q", cotangent, along), reverse, rtol=1e-9, atol=1e-9)
"""


# households, one of them in two regions, two venue layers, changing rates, behaviour, a reinfection
EVERYTHING = (
    """
rates = everything(1, True)
past = _reference.run(c, rates, 1, torch.tensor([3]))
assert past.incidence.sum() == 4 and len(past.reinfections) == 1
"""
    + SAME
)

NO_ROOM = """
patch.multiple(_triton_removals, ROOM=4, ENTRIES=0).start()  # no world fits at first, and no entry
rates = everything(1, False)
past = _reference.run(c, rates, 3, torch.arange(1))
tangents = random_tangents(rates, 2)
along = _triton_removals.jvp(c, rates, tangents, past)
assert along.abs().max() > 0.1
torch.testing.assert_close(along, _removals_reference.jvp(c, rates, tangents, past), rtol=1e-9, atol=1e-9)

# single precision, waning, the default estimator of both backends
wane = torch.tensor([[[0.8], [1.1]]])
single = replace(rates, waning=wane).map(lambda x: x.float())
(x, bar), (y, slow) = (gradient_of(population, single, 3, name) for name in ("triton", "reference"))
assert torch.equal(x, y) and x.sum() >= 2
same(bar, slow, 1e-5)
"""

EXTREMES = """
rates = everything(1, False)
nobody = replace(rates, importation=0 * rates.importation)
x, bar = gradient_of(population, nobody, 3, "triton")
assert x.sum() == 0 and all(float(g.abs().sum()) == 0 for g in bar.tensors())
# a probability of one has no slope, and expm1 overflows
x, bar = gradient_of(population, replace(nobody, importation=nobody.importation + 1e10), 3, "triton")
assert x[:, 0].sum() == 3 and all(float(g.abs().max()) == 0 for g in bar.tensors() if g.numel())
two = rates.map(lambda x: torch.cat([x, 0 * x]))  # the second particle infects nobody
weight = torch.ones(2, *x.shape[1:])
weight[1, 2, 0] = torch.nan
_, bar = gradient_of(population, two, 3, "triton", weight)
assert all(torch.isfinite(g[0]).all() and torch.isnan(g[1]).all() for g in bar.tensors())
assert bar.importation[0].abs().max() > 0.1
patch.multiple(_triton_removals, MOST_ATTEMPTS=0, MOST_ATTEMPTS_EACH=0).start()
try:
    gradient_of(population, rates, 3, "triton")
except ValueError as error:
    assert "more than 0 contacts" in str(error) and "local-score" in str(error)
else:
    raise AssertionError("not refused")
"""

# behaviour that responds strongly from day to day, and worlds in which an infection comes on another day than in the run
MOVED = """
from sim import _compiled, _triton_run
from tests.sim.worlds import small_population, some_rates
population = small_population(60, regions=2, ages=2, archetypes=2, school=10)
c = columns(population, CPU)
rates = some_rates(population, particles=1, days=16).map(lambda x: x.double())
rates = replace(rates, aversion=3 * rates.aversion, forgetting=0 * rates.forgetting + 0.9)
past = _compiled.run(c, rates, 3, torch.arange(1))
folk = _triton_run.people(c)
w = _triton_run.past(folk, rates, past)
a, web = _triton_removals._attempts(folk, w)
spells = torch.tensor([0, 18], dtype=torch.int32)  # an attempt of 18 comes on another day than in the run
change, cotangent = torch.zeros(len(w.day)), torch.randn(past.incidence.shape, generator=torch.Generator().manual_seed(1))
_triton_removals._follow(folk, w, a, web, spells, cotangent, change)
known = _removals_reference.world(c, rates, past, 0)
found, incidence = _removals_reference.attempts(known), past.incidence[0].numpy()
for s in spells.tolist():
    wanted = float(((incidence - _removals_reference.replay(known, found, s)) * cotangent[0].numpy()).sum())
    assert abs(float(change[s]) - wanted) < 1e-9, (s, float(change[s]), wanted)
"""


def test_attempts_that_move_keep_the_turn_of_their_day_in_the_run():
    interpreted(PRELUDE + MOVED)


def test_the_kernels_are_the_reference_and_modes_are_transposes():
    interpreted(PRELUDE + EVERYTHING)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", [NO_ROOM, EXTREMES], ids=["worlds that outgrow their room, and the public face", "extremes"]
)
def test_interpreted_at_length(text):
    interpreted(PRELUDE + text)


@pytest.mark.slow
@pytest.mark.parametrize("second", [False, True])
def test_the_same_with_several_particles(second):
    interpreted(
        PRELUDE
        + f"""
rates = everything(4, {second})
past = _reference.run(c, rates, 5, torch.arange(4))
assert past.incidence.sum() > 4
"""
        + SAME
    )


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kind", ["plain", "behaviour", "immunity"])
def test_on_a_gpu_as_on_the_cpu(kind):
    """The same run's derivatives by the kernels of both devices, and second to rounding."""
    from sim import _triton, _triton_removals

    population = small_population(4_000, regions=4, ages=4, archetypes=8, school=40)
    rates = some_rates(population, particles=2, days=60).map(lambda x: x.double())
    aversion = {"plain": 0.0, "behaviour": 1.0, "immunity": 5.0}[kind] * rates.aversion
    rates = replace(rates, aversion=aversion)
    if kind == "immunity":
        after = 0.8 * (torch.arange(30) > 9) * torch.arange(30) / 30
        rates = replace(rates, reinfection=after.double().expand(2, 8, 30).contiguous())
    there = rates.map(lambda x: x.cuda())
    c, here = columns(population, torch.device("cuda")), columns(population, torch.device("cpu"))
    past = _triton.run(c, there, 3, torch.arange(2))
    cotangent = torch.randn(past.incidence.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    known = type(past)(*(x.cpu() for x in past))
    bar = _triton_removals.vjp(c, there, past, cotangent.cuda())
    more = _triton_removals.vjp(c, there, past, cotangent.cuda())
    slow = _removals.vjp(here, rates, known, cotangent)
    for name, x, y, z in zip(Rates.__annotations__, bar.tensors(), slow.tensors(), more.tensors(), strict=True):
        if x.numel():
            torch.testing.assert_close(x.cpu(), y, rtol=1e-8, atol=1e-8 * float(y.abs().max()), msg=name)
            torch.testing.assert_close(x, z, rtol=1e-11, atol=1e-11 * float(y.abs().max()), msg=name)
    tangents = random_tangents(rates, 5)
    along = _triton_removals.jvp(c, there, tangents.map(lambda x: x.cuda()), past)
    wanted = _removals.jvp(here, rates, tangents, known)
    torch.testing.assert_close(along.cpu(), wanted, rtol=1e-8, atol=1e-8 * float(wanted.abs().max()))


@pytest.mark.gpu
@needs_gpu
def test_memory_on_a_gpu_does_not_grow_with_days():
    from sim import _triton, _triton_removals

    population, peaks = small_population(40_000), []
    c = columns(population, torch.device("cuda"))
    for days in (60, 240):
        rates = some_rates(population, particles=1, days=days).map(lambda x: x.cuda())
        past = _triton.run(c, rates, 3, torch.arange(1))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _triton_removals.vjp(c, rates, past, torch.ones_like(past.incidence))
        peaks.append((torch.cuda.max_memory_allocated() - before) / float(past.incidence.sum()))
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.slow
def test_the_kernels_compile_for_a_card_without_one():
    """Ahead of time for an H100 or H200."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", AHEAD], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


AHEAD = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sim import _triton_attempts, _triton_follow, _triton_slopes, _triton_web
from sim._triton_attempts import Attempts
from sim._triton_people import Past, People
from sim._triton_web import Web
from sim._triton_worlds import Room
I, S, B, F, U, L = "*i32", "*i16", "*i8", "*fp64", "*u64", "*i64"
c = People(I, I, F, I, I, I, I, I, F, I, I, F, I, F, *[I] * 5)
w = Past(U, *[F] * 10, *[I] * 8, *[F] * 7, I, *[I] * 8)
a, web, m = Attempts(I, I, S, B, F, I), Web(*[I] * 5, F, I, I, F, I), Room(*[I] * 9, L, F, I, I, F, F, L)
known = dict(c=c, w=w, a=a, web=web, m=m, begin=L, queue=I, cotangent=F, out=F, full=I, entry=L, found=L, capacity="i64", taken=I, particle=L,
             share=F, bin=L, where=F, pressure=F, each=F, bar=F, along=F)
kernels = [
    (_triton_attempts.draw, dict(FILL=False, BLOCK=32), 1), (_triton_attempts.draw, dict(FILL=True, BLOCK=32), 1),
    (_triton_web.shares, dict(BLOCK=32), 1), (_triton_slopes.pressures, dict(BLOCK=32), 1),
    (_triton_slopes.shed_back, dict(BLOCK=32), 1), (_triton_slopes.shed_along, dict(BLOCK=8, WIDE=64), 4),
    (_triton_follow.worlds, dict(ENTRIES=False), 1), (_triton_follow.worlds, dict(ENTRIES=True), 1),
]
for kernel, constants, warps in kernels:
    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else known.get(n, "i32") for n in names}
    source = ASTSource(fn=kernel, signature=signature, constexprs={(names.index(n),): v for n, v in constants.items()})
    triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
"""
