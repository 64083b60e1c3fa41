"""Rows of forecast hubs: what is written is what hubs accept, and what they refuse is refused in one sentence."""

import io
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from calib import HUB_LEVELS, check_hub_rows, hub_rows


@pytest.fixture
def rows():
    return hub_rows(
        np.arange(2 * 3 * 23.0).reshape(2, 3, 23), "2022-03-13", "cases", ["01", "02", "03"], horizons=[1, 5]
    )


@pytest.mark.parametrize(
    "day",
    [
        date(2022, 3, 13),
        datetime(2022, 3, 13),
        pd.Timestamp("2022-03-13"),
        np.datetime64("2022-03-13"),
        np.datetime64("2022-03-13T00:00:00", "ns"),
        "2022-03-13",
        "2022-03-13T00:00:00",
    ],
)
def test_dates_are_written_as_days(day):
    written = hub_rows(np.zeros((1, 1, 23)), day, "cases", ["a"])
    assert written.reference_date.unique().tolist() == ["2022-03-13"]
    assert written.target_end_date.unique().tolist() == ["2022-03-20"]


@pytest.mark.parametrize(
    "day",
    [
        datetime(2022, 3, 13, 12),
        datetime(2022, 3, 13, tzinfo=UTC),
        "2022-03-13T00:00:00+13:00",
        "13 March",
        None,
        float("nan"),
    ],
)
def test_dates_with_a_time_or_a_zone_are_refused(day):
    with pytest.raises(ValueError, match=r"The reference date is .*; expected a"):
        hub_rows(np.zeros((1, 1, 23)), day, "cases", ["a"])


def test_levels_are_rounded():
    levels = np.arange(1, 20) * 0.05
    assert 0.15000000000000002 in levels
    written = hub_rows(np.arange(19.0)[None, None], "2022-03-13", "cases", ["a"], levels=levels)
    text = written.to_csv(index=False)
    assert "0.15," in text
    assert "0.15000000000000002" not in text
    assert written.output_type_id.tolist() == [float(f"{0.05 * k:.2f}") for k in range(1, 20)]


def test_rows_pass_through_a_file_and_in_any_order(rows):
    second = pd.read_csv(io.StringIO(rows.to_csv(index=False)), dtype={"location": str})
    check_hub_rows(second.sample(frac=1, random_state=1)[list(reversed(second.columns))])
    pd.testing.assert_frame_equal(second, rows, check_dtype=False)
    point = rows.iloc[:1].assign(output_type="mean", output_type_id=np.nan)
    check_hub_rows(pd.concat([rows, point], ignore_index=True))


CHANGES = {
    "lack the column horizon": lambda r: r.drop(columns="horizon"),
    "unknown column model": lambda r: r.assign(model="x"),
    "are empty": lambda r: r.iloc[:0],
    "Hub row 0 has location 1": lambda r: r.assign(location=1),
    "target ''": lambda r: r.assign(target=""),
    "reference_date '2022-03-13T00:00:00'": lambda r: r.assign(reference_date="2022-03-13T00:00:00"),
    r"reference_date Timestamp.* YYYY-MM-DD": lambda r: r.assign(reference_date=pd.Timestamp("2022-03-13")),
    "reference_date '2022-02-30'": lambda r: r.assign(reference_date="2022-02-30"),
    r"Hub row 0 has target_end_date .* 7 days after": lambda r: r.assign(target_end_date="2022-03-21"),
    "horizon 'one'": lambda r: r.assign(horizon="one"),
    r"horizon .*1\.5.* whole number": lambda r: r.assign(horizon=1.5),
    "value .*nan.* one of 138 such rows": lambda r: r.assign(value=np.nan),
    "value .*inf.*": lambda r: r.assign(value=np.inf),
    "value True": lambda r: r.assign(value=True),
    "output_type 'quantiles'": lambda r: r.assign(output_type="quantiles"),
    r"output_type_id .*1\.0.* between 0 and 1": lambda r: r.assign(output_type_id=1.0),
    r"output_type_id .* rounded to 6 decimals": lambda r: r.assign(output_type_id=r.output_type_id + 1e-9),
    r"1 hub rows stand twice, first cases, 01, horizon 1, quantile 0\.01": lambda r: pd.concat([r, r.iloc[:1]]),
    r"cases, 01, horizon 1 decrease from level 0\.01 to 0\.025": lambda r: r.assign(value=-r.value),
}


@pytest.mark.parametrize("said", CHANGES)
def test_what_hubs_refuse_is_refused(rows, said):
    changed = CHANGES[said](rows)
    with pytest.raises(ValueError, match=said) as raised:
        check_hub_rows(changed)
    assert "\n" not in str(raised.value)


def test_two_values_for_one_quantile_are_a_doubled_row(rows):
    other = pd.concat([rows, rows.iloc[[4]].assign(value=rows.value.iloc[4] + 0.5)])
    with pytest.raises(ValueError, match="stand twice"):
        check_hub_rows(other)


def test_writing_refuses_what_reading_refuses():
    good = np.arange(23.0)[None, None]
    with pytest.raises(ValueError, match="decrease"):
        hub_rows(good[..., ::-1], "2022-03-13", "cases", ["a"])
    with pytest.raises(ValueError, match="finite"):
        hub_rows(good * np.nan, "2022-03-13", "cases", ["a"])
    with pytest.raises(ValueError, match="stand twice"):
        hub_rows(np.concatenate([good, good], 1), "2022-03-13", "cases", ["a", "a"])
    with pytest.raises(ValueError, match="whole numbers of weeks"):
        hub_rows(good, "2022-03-13", "cases", ["a"], horizons=[1.5])
    with pytest.raises(ValueError, match="between 0 and 1"):
        hub_rows(good, "2022-03-13", "cases", ["a"], levels=[0.0, *HUB_LEVELS[1:]])


def test_the_example_runs():
    import doctest

    import calib._hub

    assert doctest.testmod(calib._hub).failed == 0
