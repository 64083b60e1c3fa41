"""The made-up study with cases by age as well, and answers on who takes a test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import epi
from behaviour import AnswerTable, Archetypes, Question
from epi import Delay, LogNormal, NegativeBinomial
from posterity.template.study import outbreaks
from posterity.template.study import study as known

KINDS = Archetypes({known.region.axis: known.region.names, "age": known.ages.names})
QUESTION = Question(
    "test",
    "You live in {county} and are {age} years old. You feel ill. Would you take a test and report it?",
    "cases",
    (0.0,),
)


def table_of(logit: NDArray[np.float64], name: str) -> AnswerTable:
    """A made-up table with one answer, in log odds, for each archetype `[K]`."""
    rows = [
        {"archetype": a, "context": 0.0, "draw": 0, "model": "none", "status": "ok", "answer": 0.5}
        for a in KINDS.labels
    ]
    empty = AnswerTable(KINDS, QUESTION, pd.DataFrame(rows), {"made_up": True})
    return empty.replaced(logit[:, None], name=name)


def make(data: Path, table: AnswerTable | Path) -> epi.Study:
    """The study on a folder of tables with some answers."""
    cases = known.stream("cases_county")
    assert isinstance(cases, epi.Cases)
    by_age = epi.Cases(
        by="age", delay=Delay(cases.delay.mean, cases.delay.sd), complete=True, agree_within=1.0,
        family=NegativeBinomial(LogNormal(0.15, 0.4), outbreaks),
    )  # fmt: skip
    behaviour = epi.ElicitedBehaviour(table, affects="testing")
    return replace(
        known, name="made_up_behaviour", data=data, parts=(*known.parts, behaviour), streams=(*known.observed, by_age)
    )
