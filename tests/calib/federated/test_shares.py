"""Secret shares: sums are exact to fixed point, what a minority sees is uniform, what was sealed opens for one alone."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

pytest.importorskip("mpyc")
pytest.importorskip("cryptography")

from calib.federated._shares import BYTES, PRIME, Envelope, add, join, split, threshold


@pytest.mark.parametrize("sites", [2, 3, 5, 20])
def test_shares_of_sums_are_sums(sites):
    g = torch.Generator().manual_seed(sites)
    values = 1e3 * torch.randn(sites, 11, generator=g, dtype=torch.float64)
    dealt = [split(x, sites) for x in values]
    summed = {j + 1: add([row[j] for row in dealt]) for j in range(sites)}
    enough = dict(list(summed.items())[-(threshold(sites) + 1) :])
    assert float((join(enough) - values.sum(0)).abs().max()) <= sites * 2.0**-41 + 1e-10


@pytest.mark.parametrize(("sites", "value"), [(3, 0.0), (5, -3.25), (8, 1e9)])
def test_what_any_minority_sees_is_uniform(sites, value):
    """All shares that fewer than half see of one secret, byte by byte of each, and the pairs of two holders together."""
    repeats, few = 4000, threshold(sites)
    rows = split(torch.full((repeats,), value, dtype=torch.float64), sites)
    whole = [np.frombuffer(row, dtype=np.uint8).reshape(repeats, BYTES) for row in rows]
    for holder in whole:
        for byte in (0, 7, 14):
            assert chisquare(np.bincount(holder[:, byte], minlength=256)).pvalue > 1e-5
    # jointly: the high bits of any `few` holders at once
    bits = min(few, 3)
    code = sum((whole[j][:, 0] & 3).astype(int) << (2 * j) for j in range(bits))
    assert chisquare(np.bincount(code, minlength=4**bits)).pvalue > 1e-5


def test_one_share_more_than_a_minority_tells():
    """The case that must fail: threshold + 1 shares are no longer uniform, they are the secret."""
    rows = split(torch.full((5,), 2.5, dtype=torch.float64), 5)
    few = threshold(5)
    assert torch.equal(join({j + 1: rows[j] for j in range(few + 1)}), torch.full((5,), 2.5, dtype=torch.float64))
    wrong = join({j + 1: rows[j] for j in range(few)})
    assert not torch.isclose(wrong, torch.tensor(2.5, dtype=torch.float64)).any()
    assert PRIME.bit_length() == 127


def test_a_sealed_share_opens_for_its_reader_alone():
    a, b, c = Envelope(), Envelope(), Envelope()
    keys = {"a": a.public, "b": b.public, "c": c.public}
    for name, own in (("a", a), ("b", b), ("c", c)):
        own.meet({n: k for n, k in keys.items() if n != name})
    sealed = a.seal("b", b"share", "a 1")
    assert b.open("a", sealed, "a 1") == b"share"
    with pytest.raises(ValueError, match="does not open"):
        c.open("a", sealed, "a 1")
    with pytest.raises(ValueError, match="does not open"):
        b.open("a", sealed, "a 2")


def test_one_site_has_no_secure_sum():
    with pytest.raises(ValueError, match="at least 2"):
        threshold(1)
