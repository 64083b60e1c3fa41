"""Scenarios that are another declaration: dated changes moved or left out, with common random numbers."""

from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import epi
from epi import LogNormal, StudyError
from epi.data import load_data
from epi.inference.settings import make_config
from epi.outputs.reload import Fitted
from epi.scenarios.changed_study import ChangedStudy, moved, simulate_changes, without
from epi.scenarios.summary import averted
from epi.study import Intervention
from tests.epi.conftest import build
from tests.made_up.study import study

CLOSED = epi.Intervention("closing", LogNormal(0.3, 0.2), date(2030, 4, 8), layers=("community", "school"))
WITH = replace(study, parts=(*study.parts, CLOSED, epi.Fatality(LogNormal(0.02, 0.3), LogNormal(1.0, 0.1))))
WITH = replace(WITH, streams=(*study.streams[:-1], epi.Deaths(by="age", delay=epi.Delay(18.0, 6.0)), study.streams[-1]))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for file in study.data.glob("*.csv"):
        (folder / file.name).write_bytes(file.read_bytes())
    text = (folder / "admissions_age.csv").read_text().replace("admissions", "deaths")
    (folder / "deaths_age.csv").write_text(text)
    data = load_data(WITH, folder)
    simulator = build(WITH, data)
    z = 0.2 * torch.randn(3, simulator.space.dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    config = make_config("posterity.template.study", smoke=True, device="cpu", scale=0.2)
    return Fitted(SimpleNamespace(), config, data, simulator, simulator.space.to_theta(z))


def scenario(name, change):
    return ChangedStudy(name, name, change, "", "")


def test_an_earlier_closing_averts_and_none_adds(fitted):
    changes = [
        scenario("same", lambda s: moved(s, {"closing": 0})),
        scenario("earlier", lambda s: moved(s, {"closing": -7})),
        scenario("none", lambda s: without(s, "closing")),
    ]
    data = simulate_changes(fitted, changes, 3, seed=1)
    assert data["infections"].shape == (4, 3, 11, 2, 3)
    np.testing.assert_array_equal(data["deaths"].sel(world="same"), data["deaths"].sel(world="calibrated"))
    table = averted(data, changes)
    whole = table[(table.level == "all") & (table.measure == "infections")].set_index("question")["median"]
    assert whole["same"] == 0
    assert whole["earlier"] > 0 > whole["none"]


def test_weeks_before_the_change_are_the_same_in_every_world(fitted):
    data = simulate_changes(fitted, [scenario("none", lambda s: without(s, "closing"))], 2, seed=1)
    early = data["infections"].sel(week=slice("2030-03-16", "2030-04-06"))
    np.testing.assert_array_equal(early.sel(world="none"), early.sel(world="calibrated"))


def test_what_cannot_be_changed_is_refused(fitted):
    with pytest.raises(StudyError, match="no dated change 'opening'; choose among closing"):
        without(WITH, "opening")
    with pytest.raises(StudyError, match="would begin on 2029-12-29"):
        moved(WITH, {"closing": -100})
    more = scenario("more", lambda s: replace(s, parts=(*s.parts, replace(CLOSED, name="again"))))
    with pytest.raises(StudyError, match="parameter 'effect_again', which the run did not fit"):
        simulate_changes(fitted, [more], 2, seed=1)
    with pytest.raises(StudyError, match="choose from 2 to 3"):
        simulate_changes(fitted, [more], 9, seed=1)


def test_a_moved_change_keeps_its_length():
    longer = replace(WITH, parts=(*study.parts, replace(CLOSED, last=date(2030, 4, 21))))
    part = moved(longer, {"closing": 5}).parts_of(Intervention)[0]
    assert (part.first, part.last) == (date(2030, 4, 13), date(2030, 4, 26))
