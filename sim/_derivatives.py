"""Which derivatives follow a backend's run: all removals, the local score, or the cheaper of the two."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import ModuleType

from torch import Tensor

from sim import _reference, _removals, _removals_reference
from sim._batches import Kernels
from sim._columns import Columns
from sim._estimators import AUTO, LOCAL_SCORE
from sim._reference import Epidemic
from sim.rates import Rates

STEPS = 500
"""Agent-days of the local score that cost as much as one infection of all removals (`python -m experiments.benchmark_simulator`)."""
WORTH = 3.0
"""How many times the price of the local score `auto` pays for a gradient without bias."""
_LOG = logging.getLogger("sim")


@dataclass(frozen=True)
class Removals:
    """A backend's run, and all removals: in plain Python after the reference on the CPU, else in the kernels of the CPU."""

    plain: ModuleType

    def run(self, c: Columns, rates: Rates, seed: int, streams: Tensor) -> Epidemic:
        past: Epidemic = self.plain.run(c, rates, seed, streams)
        return past

    def vjp(self, c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
        if self._in_python(rates):
            return _removals_reference.vjp(c, rates, epidemic, cotangent)
        bar = _removals.vjp(c, rates.map(Tensor.cpu), Epidemic(*(x.cpu() for x in epidemic)), cotangent.cpu())
        return bar.map(lambda x: x.to(cotangent.device))

    def jvp(self, c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
        if self._in_python(rates):
            return _removals_reference.jvp(c, rates, tangents, epidemic)
        there = rates.map(Tensor.cpu), tangents.map(Tensor.cpu), Epidemic(*(x.cpu() for x in epidemic))
        return _removals.jvp(c, *there).to(rates.mixing.device)

    def _in_python(self, rates: Rates) -> bool:
        return self.plain is _reference and rates.mixing.device.type == "cpu"


@dataclass(frozen=True)
class Cheaper:
    """All removals where they cost at most `WORTH` times the local score, else the local score; the choice goes to the log."""

    plain: ModuleType

    def run(self, c: Columns, rates: Rates, seed: int, streams: Tensor) -> Epidemic:
        past: Epidemic = self.plain.run(c, rates, seed, streams)
        return past

    def vjp(self, c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
        return self._choose(rates, epidemic).vjp(c, rates, epidemic, cotangent)

    def jvp(self, c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
        return self._choose(rates, epidemic).jvp(c, rates, tangents, epidemic)

    def _choose(self, rates: Rates, epidemic: Epidemic) -> Kernels:
        price = STEPS * float(epidemic.incidence.sum()) / (epidemic.infected_on.numel() * rates.days)
        removals = price <= WORTH and not bool((rates.reinfection > 1).any())
        _LOG.info(
            "estimator auto: %s (all removals at about %.2g times the price of the local score)",
            "removals" if removals else LOCAL_SCORE,
            price,
        )
        return Removals(self.plain) if removals else self.plain


def kernels_for(estimator: str, plain: ModuleType) -> Kernels:
    """The backend's run with an estimator's derivatives."""
    if estimator == LOCAL_SCORE:
        return plain
    return Cheaper(plain) if estimator == AUTO else Removals(plain)
