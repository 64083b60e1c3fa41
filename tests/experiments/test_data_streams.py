"""Which streams the likelihood sees, and the information that each is said to hold."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from epi.data import observed
from epi.errors import StudyError
from epi.inference.likelihood import Inference
from epi.outputs.stream_information import stream_information
from experiments.nz_calibration.streams import row_of
from tests.experiments import nz
from tests.experiments.conftest import TINY, command


def wastewater(epidemic_data):
    """The table as it is."""
    table = pd.read_csv(epidemic_data.folder / "wastewater.csv")
    return table.assign(week=pd.to_datetime(table["week_ending"]))


def test_names_are_parsed_in_one_order():
    assert nz.study.parse_options("border, cases") == ("cases", "border")
    assert nz.study.parse_options(nz.DEFAULT) == nz.DEFAULT
    assert set(nz.study.switched_on(nz.OPTIONS)) == set(nz.STREAMS)
    assert nz.study.switched_on(["cases"]) == ("cases_district", "cases_age")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("cases,wastwater", "did you mean 'wastewater'"),
        ("cases,xyz", "choose among cases"),
        (" , ", "No data stream was asked for"),
    ],
)
def test_what_is_not_a_signal_is_said(given, said):
    with pytest.raises(StudyError, match=said):
        nz.study.parse_options(given)


def test_the_command_refuses_an_unknown_signal(tmp_path):
    result = command(*TINY, "--streams", "cases,admisions", "--output", tmp_path / "run")
    assert result.code == 2
    assert "did you mean 'admissions'" in result.last
    assert not (tmp_path / "run").exists()


def test_areas_are_whole_districts_and_whole_regions(epidemic_data):
    districts = [d for group, _ in nz.AREAS.values() for d in group]
    assert sorted(districts) == sorted(nz.PLACES["cases_district"])
    regions = [r for _, group in nz.AREAS.values() for r in group]
    assert len(set(regions)) == len(regions) == 16
    assert set(regions) | {"New Zealand"} == set(wastewater(epidemic_data)["region"])


def test_wastewater_of_an_area_is_the_mean_over_people_sampled(epidemic_data):
    table = epidemic_data.series["wastewater_area"]
    rows = wastewater(epidemic_data).set_index(["week", "region"])
    week = "2022-03-13"
    parts = rows.loc[[(np.datetime64(week), r) for r in ("Nelson", "Tasman", "Marlborough")]]
    copies, people = parts["genome_copies_per_person_per_day"], parts["population_covered"]
    assert table.loc[week, "Top of the South"] == pytest.approx((copies * people).sum() / people.sum() / 1e6)


def test_what_the_likelihood_sees(epidemic_data):
    weeks = nz.CALENDAR.weeks()
    data = observed(epidemic_data, weeks, nz.OPTIONS)
    early = np.asarray(weeks <= np.datetime64(nz.FORECAST_DATE))
    for name, in_likelihood in data.in_likelihood.items():
        assert not bool(in_likelihood[~early].any()), name
        assert bool(torch.isfinite(data.counts[name][in_likelihood]).all())
    masked = int(np.flatnonzero(weeks == np.datetime64(nz.MASKED_WEEK))[0])
    for name, stream in nz.STREAMS.items():
        assert bool(data.in_likelihood[name][masked].any()) == (not stream.masked and name != "occupancy_district"), (
            name
        )
    assert int(data.in_likelihood["occupancy_district"].any(1).sum()) == 1
    assert bool((data.counts["wastewater_area"][data.in_likelihood["wastewater_area"]] > 0).all())
    only = observed(epidemic_data, weeks, ["deaths"])
    assert only.streams == ("deaths_age",)
    assert torch.equal(only.fitted, data.fitted)


def test_a_signal_that_is_off_does_not_move_the_likelihood(tiny, epidemic_data):
    z = 0.2 * torch.randn(2, tiny.space.dim, generator=torch.Generator().manual_seed(4))
    data = observed(epidemic_data, nz.CALENDAR.weeks(), ["cases", "admissions"]).until(tiny.short.weeks)

    def value(counts):
        changed = type(data)({**data.counts, **counts}, data.in_likelihood, data.fitted)
        return Inference(tiny.short, changed).log_likelihood(z, 3, "reverse")

    before = value({})
    assert torch.equal(value({"deaths_age": data.counts["deaths_age"] + 50}), before)
    assert not torch.equal(value({"admissions_age": data.counts["admissions_age"] + 50}), before)


@pytest.fixture(scope="module")
def table(tiny, epidemic_data):
    """Information from data streams of a tiny study that saw cases and border workers."""
    z = 0.2 * torch.randn(4, tiny.space.dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        flat, jacobian = tiny.full.jacobian(z, 1)
    weeks = [str(w.date()) for w in nz.CALENDAR.weeks()]
    rows = [(s, w, p) for s, places in nz.PLACES.items() for w in weeks for p in places]
    labels = {
        f"output_{k}": ("output", list(x))
        for k, x in zip(("stream", "week", "place"), zip(*rows, strict=True), strict=True)
    }
    kept = xr.Dataset(
        {
            "expected": (("draw", "output"), flat.numpy()),
            "jacobian": (("draw", "output", "parameter"), jacobian.numpy()),
        },
        coords=labels,
    )
    on = ["cases", "border"]
    data = observed(epidemic_data, nz.CALENDAR.weeks(), on).until(tiny.short.weeks)
    study = SimpleNamespace(
        declared=nz.study,
        epidemic_data=epidemic_data,
        full=tiny.full,
        short=tiny.short,
        space=tiny.space,
        config=SimpleNamespace(streams=on),
    )
    return stream_information(study, Inference(tiny.short, data), z, kept)


def test_more_data_never_widen(table):
    assert set(table.option) == set(nz.OPTIONS)
    assert (table.wider >= 1 - 1e-9).all()
    assert table[table.fitted].option.unique().tolist() == ["cases", "border"]


def test_a_parameter_that_only_a_signal_sees_is_informed_by_it_alone(table):
    wide = table.pivot(index="quantity", columns="option", values="wider")
    assert wide.loc["hospital_days"].idxmax() == "occupancy"
    assert wide.loc["hospital_days"].drop("occupancy").max() == pytest.approx(1.0, abs=1e-9)
    assert wide.loc["wastewater_level", "wastewater"] > 1.5
    assert wide.loc["ascertainment_rat", "border"] > 1.005
    # not fitted and not seen: known as the prior says
    assert table[(table.quantity == "fatality_age") & (table.option == "deaths")].sd.item() == pytest.approx(
        1.0, abs=1e-9
    )


@pytest.mark.slow
def test_a_row_of_the_table_of_combinations(finished):
    row = row_of(nz.DEFAULT, 0, finished)
    assert row["streams"] == " ".join(nz.DEFAULT)
    assert row["cases_district 1-4"] > 0
    assert row["score"] > 0
    assert row["occupancy_district 1-4"] is None  # no baseline: its observations begin at the forecast date
    assert 0 <= row["deaths_age inside"] <= 1
    assert row["sd infections"] > 0
