"""A data stream more: calls to a health line, by county, from the infected and from people without an infection."""

from dataclasses import replace

import epi
from epi import LogitNormal, LogNormal, NegativeBinomial, Parameter
from tests.made_up.study import study as known

own = (
    Parameter("calls_share", LogitNormal(-2.0, 0.5, unit="share", reason="Infected people who call (chosen)."), observation=True),
    Parameter("calls_others", LogNormal(2.0, 0.5, unit="per 1,000 a week", reason="Other calls (chosen)."), observation=True),
)  # fmt: skip


def expected(theta, epidemic, setting):
    """`[*batch, week, county]` calls."""
    infected = epidemic.fixed.week @ epidemic.by_region
    others = theta["calls_others"][..., None, None] * epidemic.fixed.inhabitants / 1000
    return theta["calls_share"][..., None, None] * infected + others


calls = epi.UserStream(
    name="calls", by="county", expected=expected, own=own, family=NegativeBinomial(LogNormal(0.2, 0.4)), column="calls"
)
study = replace(known, name="with_calls", streams=(*known.streams, calls))  # fmt: skip
