import json
import os
import stat

import pandas as pd
import pytest

from calib._atomic import atomic_path, atomic_write_bytes, atomic_write_csv, atomic_write_json, atomic_write_text


def test_writes_text_bytes_json(tmp_path):
    atomic_write_text(tmp_path / "a" / "t.txt", "Tairāwhiti")
    atomic_write_bytes(tmp_path / "b.bin", b"\x00\x01")
    atomic_write_json(tmp_path / "c.json", {"x": [1, 2.5, None]})
    assert (tmp_path / "a" / "t.txt").read_text(encoding="utf-8") == "Tairāwhiti"
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\x01"
    assert json.loads((tmp_path / "c.json").read_text()) == {"x": [1, 2.5, None]}


def test_failure_keeps_the_old_file_and_leaves_no_rubbish(tmp_path):
    target = tmp_path / "t.txt"
    atomic_write_text(target, "old")

    def killed():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["t.txt"]


def test_temporary_is_a_neighbour_with_the_same_suffix(tmp_path):
    with atomic_path(tmp_path / "x.nc") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".nc"
        assert not temporary.exists()
        temporary.write_text("x")


def test_mode_is_that_of_an_ordinary_file(tmp_path):
    (tmp_path / "plain").write_text("x")
    atomic_write_text(tmp_path / "ours", "x")
    mode = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert mode[0] == mode[1]


def test_writing_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="Nothing was written"), atomic_path(tmp_path / "x"):
        pass


@pytest.mark.parametrize("content", [{"x": float("nan")}, {"x": object()}])
def test_json_refuses_what_it_cannot_say(tmp_path, content):
    atomic_write_json(tmp_path / "m.json", {"ok": True})
    with pytest.raises(ValueError, match=r"m\.json cannot be written as JSON"):
        atomic_write_json(tmp_path / "m.json", content)
    assert json.loads((tmp_path / "m.json").read_text()) == {"ok": True}


def test_csv_has_seven_digits_and_no_index(tmp_path):
    atomic_write_csv(tmp_path / "t.csv", pd.DataFrame({"a": [1, 2], "b": [1 / 3, 2e9]}))
    assert (tmp_path / "t.csv").read_text() == "a,b\n1,0.3333333\n2,2e+09\n"
