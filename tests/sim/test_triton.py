"""The GPU kernels against the reference: on a CUDA device where there is one, else in triton's interpreter on the CPU.

The interpreter must be asked for before triton is imported, and importing torch may import triton: each of its tests runs in
a process of its own.
"""

import importlib.util
import os
from dataclasses import replace

import pytest
import torch

import sim
from sim import _reference
from sim._columns import columns
from tests.sim.interpreter import failures_of, interpreted
from tests.sim.worlds import small_population, some_rates

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed (it comes for Linux on x86-64)"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

PRELUDE = """
import torch
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
import sim
from dataclasses import replace
from sim import _reference, _triton, _triton_jvp
from sim._columns import columns
from sim._triton_layout import layout, repeated
from tests.sim.worlds import random_tangents, small_population, some_rates
CPU = torch.device("cpu")
_triton_jvp.INFECTIOUS = _triton_jvp.HOMES = 128  # the interpreter takes a program as long for many households as for few
_triton_jvp.DIRECTIONS = 16

def same_tangents(c, rates, past, directions=3):
    tangents = random_tangents(rates, directions)
    ours, theirs = (k.jvp(c, rates, tangents, past) for k in (_triton, _reference))
    for day in range(rates.days):
        torch.testing.assert_close(ours[:, day], theirs[:, day], rtol=1e-4, atol=1e-5 * float(theirs[:, day].abs().max()))
    return tangents, ours

def same(a, b, rtol):
    for name, x, y in zip(sim.Rates.__annotations__, a.tensors(), b.tensors(), strict=True):
        assert x.numel() == 0 or float((x - y).abs().max()) <= rtol * float(y.abs().max()), name
"""

WORLD = """
population = small_population(300, ages=1, archetypes=2, school=40, work=40)
rates = some_rates(population, days=7, infectious_days=3)
c = columns(population, CPU)
assert min(c.pairs) > 5, "members of one household must share venue groups here"
past = _reference.run(c, rates, 3, torch.arange(2))
"""


SAME = (
    WORLD
    + """
ours = _triton.run(c, rates, 3, torch.arange(2))
assert ours.incidence.sum() > 300
# the draws are the same bits: only a draw within 1e-7 of its probability could fall otherwise
assert torch.equal(ours.incidence, past.incidence)
assert torch.equal(ours.infected_on, past.infected_on)
torch.testing.assert_close(ours.memory, past.memory, rtol=1e-5, atol=1e-6)

cotangent = torch.randn(past.incidence.shape, generator=torch.Generator().manual_seed(1))
bar = _triton.vjp(c, rates, past, cotangent)
same(bar, _reference.vjp(c, rates, past, cotangent), 1e-4)

# without the correction for kin in one venue the gradient is another
bare = replace(layout(c), pair=torch.full_like(layout(c).pair, -1))
wrong, right = _triton.reverse(bare, rates, past, cotangent).infectiousness, bar.infectiousness
assert float((wrong - right).abs().max()) > 1e-3 * float(right.abs().max())

tangents, ours = same_tangents(c, rates, past)
assert ours.abs().max() > 1
forward = torch.einsum("ptg,ptgq->q", cotangent, ours)
pairs = zip(bar.tensors(), tangents.tensors(), strict=True)
reverse = sum((x[..., None] * dx).flatten(0, -2).sum(0) for x, dx in pairs)
torch.testing.assert_close(forward, reverse, rtol=1e-4, atol=1e-4 * float(forward.abs().max()))
"""
)

COPIES = """
import numpy as np
# infectiousness of nought on some days: the derivative in it is not nought
small = small_population(40, ages=1, archetypes=2)
rates = some_rates(small, particles=1, days=5, infectious_days=3, level=2.0)
rates = replace(rates, infectiousness=rates.infectiousness * torch.tensor([0.0, 1.0, 0.0]))
c = columns(small, CPU)
past, ours = (k.run(c, rates, 1, torch.tensor([4])) for k in (_reference, _triton))
assert torch.equal(past.infected_on, ours.infected_on) and past.incidence[:, 2:].sum() > 0
cotangent = torch.ones_like(past.incidence)
same(_triton.vjp(c, rates, past, cotangent), _reference.vjp(c, rates, past, cotangent), 1e-4)
same_tangents(c, rates, past, 1)
# nobody infectious, but in the direction that makes them so
none = replace(rates, infectiousness=torch.zeros_like(rates.infectiousness))
same_tangents(c, none, _reference.run(c, none, 1, torch.tensor([4])))

# a layout repeated is a population repeated
n, step = small.agents, np.array([len(w) for w in small.venue_weight], dtype=np.int32)[:, None]
twice = replace(
    small,
    household_start=np.concatenate([small.household_start, n + small.household_start[1:]]),
    group=np.tile(small.group, 2), archetype=np.tile(small.archetype, 2),
    venues=np.concatenate([small.venues, np.where(small.venues >= 0, small.venues + step, -1)], axis=1).astype(np.int32),
    venue_weight=tuple(np.tile(w, 2) for w in small.venue_weight), household_weight=np.tile(small.household_weight, 2),
)
past = _reference.run(columns(twice, CPU), rates, 1, torch.tensor([4]))
ours = _triton.forward(repeated(layout(c), 2), rates, 1, torch.tensor([4]))
assert torch.equal(past.infected_on, ours.infected_on)
bar = _triton.reverse(repeated(layout(c), 2), rates, past, cotangent)
same(bar, _reference.vjp(columns(twice, CPU), rates, past, cotangent), 1e-4)
dx = random_tangents(rates, 2)
ours = _triton_jvp.tangent(repeated(layout(c), 2), rates, dx, past)
torch.testing.assert_close(ours, _reference.jvp(columns(twice, CPU), rates, dx, past), rtol=1e-4, atol=1e-4)

alone = replace(small, venues=small.venues[:0], venue_weight=(), venue_names=())
rates = replace(rates, transmission=rates.transmission[:, :2].contiguous().requires_grad_())
totals = [sim.epidemic(alone, rates, 1, backend=b, estimator="local-score").square().sum() for b in ("reference", "triton")]
gradients = [torch.autograd.grad(x, rates.transmission)[0] for x in totals]
assert totals[0] == totals[1] and totals[0] > 0
same_tangents(columns(alone, CPU), rates.map(torch.Tensor.detach), _reference.run(columns(alone, CPU), rates, 1, torch.arange(1)))
torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)
"""

REFUSED = """
population = small_population(20, ages=1, archetypes=2)
population = replace(population, group=population.group[::-1].copy())
rates = some_rates(population, days=4)
rates = replace(rates, importation=10 * rates.importation)
c = columns(population, CPU)
past, ours = (kernels.run(c, rates, 3, torch.arange(2)) for kernels in (_reference, _triton))
assert torch.equal(ours.infected_on, past.infected_on) and past.incidence.sum() > 3
leaf = rates.importation.requires_grad_()
try:
    sim.epidemic(population, replace(rates, importation=leaf), 1, backend="triton", estimator="local-score").sum().backward()
except ValueError as error:
    assert "two regions" in str(error)
else:
    raise AssertionError("not refused")
"""

REINFECTION = """
population = small_population(60, ages=1, archetypes=2, school=40, work=40)
after = torch.tensor([0.0] * 3 + [0.5] * 4 + [1.1]) * torch.tensor([1.0, 1.2])[:, None]
c, streams = columns(population, CPU), torch.arange(2)
assert min(c.pairs) > 1
for again in (True, False):
    rates = some_rates(population, days=11 if again else 5, infectious_days=2, level=2.5)  # the last rate is from the eighth day on
    x = replace(
        rates,
        importation=rates.importation + 0.03,
        reinfection=after.expand(2, 2, 8).contiguous() if again else None,
        waning=torch.tensor([[0.7, 1.3], [0.0, 0.9]]).expand(2, 2, 2).contiguous(),
    )
    past, ours = (kernels.run(c, x, 3, streams) for kernels in (_reference, _triton))
    assert torch.equal(ours.incidence, past.incidence)
    assert torch.equal(ours.infected_on, past.infected_on)
    assert torch.equal(ours.reinfections, past.reinfections) and (len(past.reinfections) > 10) == again
    assert not again or (past.reinfections[:, 2] == x.days - 1).any()
    cotangent = torch.randn(past.incidence.shape, generator=torch.Generator().manual_seed(1))
    same(_triton.vjp(c, x, past, cotangent), _reference.vjp(c, x, past, cotangent), 1e-4)
    same_tangents(c, x, past, 17 if again else 3)
"""

MORE = """
population = small_population(20, ages=1, archetypes=2)
rates = some_rates(population, particles=1, days=8, infectious_days=1, level=2.0)
rates = replace(rates, importation=rates.importation + 0.5, reinfection=torch.tensor([0.0, 1.0]).expand(1, 2, 2).contiguous())
c = columns(population, CPU)
past = _reference.run(c, rates, 3, torch.arange(1))
assert past.incidence.sum() > 2 * population.agents
assert _triton._forward(layout(c), rates, 3, torch.arange(1), population.agents) is None
ours = _triton.run(c, rates, 3, torch.arange(1))
assert all(torch.equal(getattr(ours, x), getattr(past, x)) for x in ("incidence", "infected_on", "reinfections"))
cotangent = torch.ones_like(past.incidence)
same(_triton.vjp(c, rates, past, cotangent), _reference.vjp(c, rates, past, cotangent), 1e-4)
same_tangents(c, rates, past)
"""
INTERPRETED = {
    "same epidemic and same gradient as the reference": SAME,
    "a household in two regions runs and its local score is refused": REFUSED,
    "reinfection and waning as the reference": REINFECTION,
}


@pytest.fixture(scope="module")
def failures():
    return failures_of({name: PRELUDE + text for name, text in INTERPRETED.items()})


@pytest.mark.parametrize("name", INTERPRETED)
def test_interpreted(failures, name):
    assert not failures[name], failures[name][-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", [COPIES, MORE], ids=["waning infectiousness, copies and no venues", "more infections than agents"]
)
def test_interpreted_at_length(text):
    interpreted(PRELUDE + text)


def test_memory_needed_is_what_a_billion_agents_took():
    # measured on an H100: 11,159 MiB forward and 13,962 MiB in reverse above 999,290,880 agents
    from sim._triton_layout import layout
    from sim._triton_state import memory_needed

    a = layout(columns(small_population(300, school=40, work=40), torch.device("cpu")))
    per_agent = [memory_needed(a, 3, reverse=r) / (3 * a.agents) for r in (False, True)]
    assert 10 < per_agent[0] < 13
    assert 13 < per_agent[1] < 16
    assert memory_needed(a, 3, reverse=True) == 3 * memory_needed(a, 1, reverse=True)


def test_sizes_that_a_kernel_is_not_compiled_anew_for_are_arguments_of_kernels():
    import inspect

    from sim import _triton_forward, _triton_reverse, _triton_tangent

    kernels = [
        k for m in (_triton_forward, _triton_reverse, _triton_tangent) for k in vars(m).values() if hasattr(k, "fn")
    ]
    known = {name for k in kernels for name in inspect.signature(k.fn).parameters}
    assert set(_triton_forward.SIZES) <= known


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter is asked for")
def test_the_cpu_without_the_interpreter_is_refused():
    population = small_population(20)
    with pytest.raises(ValueError, match="TRITON_INTERPRET"):
        sim.epidemic(population, some_rates(population), 1, backend="triton")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("households", [8_000, 200_000])
@pytest.mark.parametrize("immunity", [False, True])
def test_on_a_gpu_as_the_reference_and_again_bit_for_bit(households, immunity):
    from sim import _triton

    device = torch.device("cuda")
    population = small_population(households, regions=4, ages=4, archetypes=8, school=40)
    rates = some_rates(population, particles=2, days=40)
    if immunity:
        after = 0.2 * (torch.arange(30) > 9) * torch.arange(30) / 30
        waning = 0.5 + 0.4 * torch.arange(3) + 0.1 * torch.rand(2, 8, 3, generator=torch.Generator().manual_seed(2))
        rates = replace(rates, reinfection=after.expand(2, 8, 30).contiguous(), waning=waning)
    rates = rates.map(lambda x: x.to(device))
    c = columns(population, device)
    theirs, ours, repeated = (k.run(c, rates, 3, torch.arange(2)) for k in (_reference, _triton, _triton))
    assert torch.equal(ours.infected_on, repeated.infected_on)
    assert torch.equal(ours.reinfections, repeated.reinfections)
    assert (len(theirs.reinfections) > 100) == immunity
    assert abs(len(ours.reinfections) - len(theirs.reinfections)) <= 1e-4 * population.agents
    assert (ours.infected_on != theirs.infected_on).double().mean() < 1e-4
    cotangent = torch.randn_like(theirs.incidence)
    bars = [k.vjp(c, rates, theirs, cotangent) for k in (_triton, _reference)]
    for x, y in zip(*(b.tensors() for b in bars), strict=True):
        assert x.numel() == 0 or float((x - y).abs().max()) < 1e-4 * float(y.abs().max())
    tangents = rates.map(lambda x: torch.randn(*x.shape, 5, dtype=x.dtype, device=device) * x[..., None])
    found, wanted = (k.jvp(c, rates, tangents, theirs) for k in (_triton, _reference))
    assert float((found - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
