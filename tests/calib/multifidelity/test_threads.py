"""Threads of tensor operations: several in the block alone, as many as were allowed."""

import numba
import pytest
import torch

from calib.multifidelity import MAX_THREADS, allowed_threads, several_threads


@pytest.fixture(autouse=True)
def _restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("kernels", "allowed", "count"), [(6, "", 6), (64, "", MAX_THREADS), (6, "2", 2), (6, "0", 6), (6, "4,2", 6)]
)
def test_several_in_the_block_alone(monkeypatch, kernels, allowed, count):
    monkeypatch.setattr(numba, "get_num_threads", lambda: kernels)
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    torch.set_num_threads(1)
    assert allowed_threads() == count
    with several_threads():
        assert torch.get_num_threads() == count
    with several_threads(3):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 1


def test_also_where_the_block_fails(monkeypatch):
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(1)
    with pytest.raises(ValueError, match="on purpose"), several_threads():
        raise ValueError("on purpose")
    assert torch.get_num_threads() == 1
