"""A few faults of each kind that needs no process of its own, by the command that tries thousands; and what it would say of a wrong one."""

import pandas as pd
import pytest

from experiments.fault_trials import bytes as damaged_bytes
from experiments.fault_trials import places, tables
from experiments.fault_trials.__main__ import summary
from experiments.fault_trials.command import Ended, refusal
from experiments.fault_trials.folders import DAMAGES


@pytest.mark.parametrize("mutation", tables.MUTATIONS, ids=lambda m: m.name)
def test_mutants_of_tables(tmp_path, mutation):
    tried = 0
    for table in ("cases_county.csv", "schools.csv", "households.csv"):
        (tmp_path / table).mkdir()
        found = tables.judge(mutation, table, 3, tmp_path / table)
        if found is not None:
            tried += 1
            assert found.word == ("refused" if mutation.refuse else "accepted rightly"), found.said
    assert tried or mutation.name in ("more employees than people", "nobody in an age")


@pytest.mark.parametrize("name", list(DAMAGES)[::4])
def test_damaged_folders(new_study, tmp_path, name):
    found = damaged_bytes.judge_named(new_study[0] / "run", "forecast", name, 0, tmp_path)
    assert found.word == "refused", found.said


def test_damaged_files(new_study, tmp_path):
    source = new_study[0] / "run"
    (tmp_path / "plain").mkdir()
    wanted = damaged_bytes.plain(source, "forecast", tmp_path / "plain")
    assert '"rows"' in wanted
    for seed in range(12):
        (tmp_path / str(seed)).mkdir()
        what, found = damaged_bytes.judge(source, "forecast", wanted, seed, tmp_path / str(seed))
        assert found.word in ("refused", "accepted rightly"), (what, found.said)


@pytest.mark.parametrize("name", places.PLACES)
def test_places_that_cannot_be(new_study, tmp_path, name):
    found = places.judge(new_study[0] / "my_study", new_study[0] / "run", "calibrate", name, tmp_path)
    assert found is not None
    assert found.word == "refused", found.said


def test_what_is_wrong_is_called_wrong():
    assert refusal(Ended(0, "1", ""), "2").word == "accepted wrongly"
    assert refusal(Ended(0, "1", ""), "1").word == "accepted rightly"
    assert refusal(Ended(1, "", "", "KeyError: 'a'"), "").word == "traceback"
    assert refusal(Ended(2, "", "one line\nand another"), "").word == "traceback"
    assert refusal(Ended(2, "", "one line"), "").word == "refused"
    table = pd.DataFrame([["tables", "a", "refused", "", 0.1], ["tables", "b", "accepted wrongly", "", 0.1]])
    table.columns = ["kind", "trial", "outcome", "said", "seconds"]
    assert "| tables | 2 | 1 | 0 | 1 | 0 | 0 | 0 |" in summary(table)
