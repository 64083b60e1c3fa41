"""A share of the derivatives that chance may have made is not given as what an output depends on."""

from types import SimpleNamespace

import pandas as pd
import pytest

from epi.reporting.sentences import HEADLINES, sensitivity_sentences


def table(lows):
    rows = []
    for rank, (name, share, low) in enumerate(zip("abc", (0.46, -0.25, 0.1), lows, strict=True), 1):
        for measure in ("derivative_share", "prior_swing", "posterior_swing", "posterior_share"):
            rows.append((HEADLINES[0], "parameter", name, measure, share, low, 0.9, rank, 1.0, 24, 0))
    names = ["output", "level", "parameter", "measure", "index", "low", "high", "rank", "top_five", "draws", "dropped"]
    return pd.DataFrame(rows, columns=names)


@pytest.mark.parametrize(
    ("lows", "wanted"),
    [((0.2, -3.9, 0.05), "depend most on A (46 %) and C (10 %)"), ((-0.1, -3.9, -0.2), "depend on no parameter for")],
)
def test_shares_of_chance_are_left_out(lows, wanted):
    run = SimpleNamespace(sensitivity=table(lows), label=str.upper)
    sentences = " ".join(sensitivity_sentences(run)).replace("\xa0", " ")
    assert wanted in sentences
    assert "-25" not in sentences.split("Moving")[0]
