"""Fixtures shared by all rooms."""

import numba
import pytest
import torch

# two processes run the tests side by side: a thread each, also after Numba has started its own (`calib._pace.kernel_threads`)
numba.get_num_threads()
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
