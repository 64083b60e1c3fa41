import json

import pytest
import torch

from calib import CheckpointError, has_checkpoint
from calib._checkpoint import SUMMARY, TENSORS, load_checkpoint, save_checkpoint

STATE = {"identity": {"flow": "gaussian", "seed": 1, "betas": (0.9, 0.99)}, "steps": 3}


@pytest.fixture
def folder(tmp_path):
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.tensor(1.5, dtype=torch.float32),
        "empty": torch.zeros(0, 4),
    }
    save_checkpoint(tmp_path, tensors, STATE)
    return tmp_path


def test_round_trip(folder):
    tensors, state = load_checkpoint(folder, STATE["identity"])
    assert torch.equal(tensors["a"], torch.arange(6.0).reshape(2, 3))
    assert tensors["b"].dtype == torch.float32
    assert tensors["empty"].shape == (0, 4)
    assert state["steps"] == 3
    assert json.loads((folder / SUMMARY).read_text())["steps"] == 3
    assert has_checkpoint(folder)


def test_nothing_else_is_left_behind(folder):
    save_checkpoint(folder, {"a": torch.zeros(1)}, STATE)
    assert sorted(p.name for p in folder.iterdir()) == [SUMMARY, TENSORS]


def test_the_summary_is_not_needed(folder):
    (folder / SUMMARY).unlink()
    assert load_checkpoint(folder)[1]["steps"] == 3


@pytest.mark.parametrize("keep", [0, 5, 100, -1, -9])
def test_a_file_cut_short_is_refused(folder, keep):
    whole = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(whole[:keep])
    with pytest.raises(CheckpointError, match=r"damaged or cut short .*: move it away"):
        load_checkpoint(folder)


def test_a_changed_byte_is_refused(folder):
    content = bytearray((folder / TENSORS).read_bytes())
    content[-3] ^= 1
    (folder / TENSORS).write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(folder)


def test_a_changed_state_is_refused(folder):
    content = (folder / TENSORS).read_bytes()
    assert content.count(b'\\"steps\\": 3') == 1
    (folder / TENSORS).write_bytes(content.replace(b'\\"steps\\": 3', b'\\"steps\\": 4'))
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(folder)


def test_another_run_is_named(folder):
    with pytest.raises(CheckpointError, match="its seed is 1 and this run's is 2"):
        load_checkpoint(folder, {"flow": "gaussian", "seed": 2})


def test_a_missing_checkpoint_and_a_foreign_file(tmp_path):
    assert not has_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(tmp_path)
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / TENSORS)
    with pytest.raises(CheckpointError, match="format none, expected 1"):
        load_checkpoint(tmp_path)
