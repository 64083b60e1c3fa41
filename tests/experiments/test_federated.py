"""Who holds which data of a study, what a site reads, and the table of coverage."""

import json

import pandas as pd
import pytest
import torch

from epi.data import Layout, load_data, observed
from epi.inference.problem import observations_of
from epi.model import parameter_space
from epi.study import load_study
from experiments.federated._holders import NATIONAL, fingerprint, grouped, observations, read, tables, write
from experiments.federated.coverage import table

SOURCE = "posterity.template.study"


@pytest.fixture(scope="module")
def made_up():
    study = load_study(SOURCE)
    weeks = study.calendar.weeks(last=study.calendar.forecast_from)
    layout = Layout(study, weeks)
    return observed(load_data(study), weeks, study.default_options), layout, parameter_space(study)


def test_each_observation_is_held_once(made_up):
    data, layout, space = made_up
    found = tables(data, layout)
    assert list(found) == ["North", "South", NATIONAL]
    assert set(found["North"]["stream"]) == {"cases_county"}
    parts = [observations(x, layout, space) for x in found.values()]
    pooled = observations_of(space, data, layout)
    which = torch.cat([p.which for p in parts])
    order = which.argsort()
    assert torch.equal(which[order], pooled.which)
    assert torch.equal(torch.cat([p.data for p in parts])[order], pooled.data)


def test_a_site_reads_its_own_table_and_knows_the_study(made_up, tmp_path):
    data, layout, space = made_up
    found = grouped(tables(data, layout), 2)
    assert list(found) == ["North and 1 more", NATIONAL]
    places = write(tmp_path, found)
    name, own, public = read(SOURCE, places[1])
    assert name == NATIONAL
    assert public == fingerprint(layout, space)
    assert torch.equal(own.data, observations(found[NATIONAL], layout, space).data)


def test_the_table_of_coverage_counts_epidemics(tmp_path):
    for number, inside in enumerate((8, 10)):
        rows = [{"likelihood": "naive", "inside": inside, "of": 10, "width_ratio": 0.9}]
        file = tmp_path / "epidemics" / f"{number:04d}_1.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"epidemic": number, "epsilon": 1.0, "rows": rows}))
    found = table(tmp_path)
    assert isinstance(found, pd.DataFrame)
    assert found.loc[0, "epidemics"] == 2
    assert found.loc[0, "coverage_90"] == pytest.approx(0.9)
    assert found.loc[0, "standard_error"] == pytest.approx(0.1)
