import numpy as np
import pytest

from calib._jacobian_file import load_jacobian, save_jacobian


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 4)), rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 3))


LABELS = {"stream": ["cases"] * 4, "week": ["2022-02-06"] * 2 + ["2022-02-13"] * 2, "place": ["a", "b"] * 2}


def test_round_trip_with_labels(tmp_path, arrays):
    expected, jacobian, z = arrays
    save_jacobian(tmp_path / "j.nc", expected, jacobian, z, ["x", "y[0]", "y[1]"], LABELS, second=2 * jacobian)
    back = load_jacobian(tmp_path / "j.nc")
    assert back["jacobian"].dims == ("draw", "output", "parameter")
    np.testing.assert_allclose(back["jacobian"], jacobian, rtol=1e-6)
    np.testing.assert_allclose(back["jacobian_second"], 2 * jacobian, rtol=1e-6)
    np.testing.assert_array_equal(back["z"], z)
    assert list(back["parameter"].values) == ["x", "y[0]", "y[1]"]
    assert list(back["output_place"].values) == ["a", "b", "a", "b"]


def test_shapes_must_agree(tmp_path, arrays):
    expected, jacobian, z = arrays
    with pytest.raises(ValueError, match=r"jacobian \(5, 4, 2\) do not agree"):
        save_jacobian(tmp_path / "j.nc", expected, jacobian[..., :2], z, list("abc"), LABELS)
    with pytest.raises(ValueError, match=r"labels place \(1\)"):
        save_jacobian(tmp_path / "j.nc", expected, jacobian, z, list("abc"), {"place": ["a"]})
    assert not (tmp_path / "j.nc").exists()


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_jacobian(tmp_path / "j.nc")
    (tmp_path / "j.nc").write_bytes(b"\x89HDF\r\n\x1a\n half a file")
    with pytest.raises(ValueError, match="damaged"):
        load_jacobian(tmp_path / "j.nc")
