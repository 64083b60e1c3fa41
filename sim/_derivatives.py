"""Which derivatives follow a backend's run: all removals, the local score, or the cheaper of the two."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from torch import Tensor

from sim import _reference, _removals, _removals_reference, _removed
from sim._batches import Kernels
from sim._before import in_front, periods_before, with_days, with_days_before, without_days
from sim._columns import Columns
from sim._estimators import AUTO, LOCAL_SCORE
from sim._reference import Epidemic, Start
from sim.rates import Rates

STEPS = 500
"""Agent-days of the local score that cost as much as one infection of all removals (`python -m experiments.benchmark_simulator`)."""
WORTH = 3.0
"""How many times the price of the local score `auto` pays for a gradient without bias."""
_LOG = logging.getLogger("sim")


@dataclass(frozen=True)
class Removals:
    """A backend's run, and all removals: by kernels of the same backend, in plain Python after the reference on the CPU.

    After the reference on another device, infections come to the CPU and its kernels compute the derivatives.
    """

    plain: ModuleType

    def run(self, c: Columns, rates: Rates, seed: int, streams: Tensor, start: Start | None = None) -> Epidemic:
        past: Epidemic = self.plain.run(c, rates, seed, streams, start)
        return past

    def vjp(self, c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
        days, longer = periods_before(epidemic), with_days_before(c, rates, epidemic)
        return without_days(self._vjp(c, with_days(rates, days), longer, in_front(cotangent, days, 1)), days)

    def jvp(self, c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
        days, longer = periods_before(epidemic), with_days_before(c, rates, epidemic)
        return self._jvp(c, with_days(rates, days), with_days(tangents, days), longer)[:, days:]

    def _vjp(self, c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
        kernels = self._own_kernels(rates)
        if kernels is not None:
            bar: Rates = kernels.vjp(c, rates, epidemic, cotangent)
            return bar
        bar = _removals.vjp(c, rates.map(Tensor.cpu), Epidemic(*(x.cpu() for x in epidemic)), cotangent.cpu())
        return bar.map(lambda x: x.to(cotangent.device))

    def _jvp(self, c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
        kernels = self._own_kernels(rates)
        if kernels is not None:
            out: Tensor = kernels.jvp(c, rates, tangents, epidemic)
            return out
        there = rates.map(Tensor.cpu), tangents.map(Tensor.cpu), Epidemic(*(x.cpu() for x in epidemic))
        return _removals.jvp(c, *there).to(rates.mixing.device)

    def _own_kernels(self, rates: Rates) -> ModuleType | None:
        """The module whose derivatives go with the run; None for those of the CPU."""
        if self.plain is _reference:
            return _removals_reference if rates.mixing.device.type == "cpu" else None
        of_gpu = getattr(self.plain, "__name__", "") == "sim._triton"  # imported where triton is there
        return import_module("sim._triton_removals") if of_gpu else None


@dataclass(frozen=True)
class Cheaper:
    """All removals where they cost at most `WORTH` times the local score, else the local score; the choice goes to the log."""

    plain: ModuleType

    def run(self, c: Columns, rates: Rates, seed: int, streams: Tensor, start: Start | None = None) -> Epidemic:
        past: Epidemic = self.plain.run(c, rates, seed, streams, start)
        return past

    def vjp(self, c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
        return self._choose(rates, epidemic).vjp(c, rates, epidemic, cotangent)

    def jvp(self, c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
        return self._choose(rates, epidemic).jvp(c, rates, tangents, epidemic)

    def _choose(self, rates: Rates, epidemic: Epidemic) -> Kernels:
        removed = epidemic.incidence.sum((1, 2)).clamp(max=_removed.MOST).sum()
        price = STEPS * float(removed) / (epidemic.infected_on.numel() * rates.days)
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
