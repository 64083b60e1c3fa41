import arviz as az
import numpy as np
import pytest
import torch
import xarray as xr

from calib._idata import datasets_of, load_inference_data, save_inference_data, to_inference_data

WEEKS = ["2022-02-06", "2022-02-13", "2022-02-20"]
PLACES = ["Northland", "Hawke's Bay"]
DIMS = {"cases": ("week", "district"), "effect": ("district",), "masked": ("week",)}


@pytest.fixture
def tree():
    rng = np.random.default_rng(0)
    groups = {
        "posterior": {"rate": torch.rand(1, 40), "effect": rng.normal(size=(1, 40, 2))},
        "prior": {"rate": rng.random((1, 7)), "effect": rng.normal(size=(1, 7, 2))},
        "posterior_predictive": {"cases": rng.poisson(5, size=(1, 40, 3, 2))},
        "log_likelihood": {"cases": rng.normal(size=(1, 40, 3, 2))},
        "sample_stats": {"lp": rng.normal(size=(1, 40)), "log_q": rng.normal(size=(1, 40))},
        "observed_data": {"cases": np.array([[1.0, 2], [3, np.nan], [4, 5]])},
        "constant_data": {"masked": np.array([False, True, False])},
    }
    return to_inference_data(groups, {"week": WEEKS, "district": PLACES}, DIMS)


def test_axes_are_named(tree):
    assert tree["posterior"]["effect"].dims == ("chain", "draw", "district")
    assert tree["posterior_predictive"]["cases"].sizes == {"chain": 1, "draw": 40, "week": 3, "district": 2}
    assert list(tree["posterior_predictive"]["district"].values) == PLACES
    assert tree["observed_data"]["cases"].dims == ("week", "district")


def test_round_trip(tree, tmp_path):
    path = tmp_path / "posterior.nc"
    save_inference_data(tree, path, attrs={"study": "test"})
    back = datasets_of(load_inference_data(path))
    assert set(back) == set(datasets_of(tree))
    for name, dataset in datasets_of(tree).items():
        xr.testing.assert_equal(back[name], dataset)
    assert back["constant_data"]["masked"].dtype == bool
    save_inference_data(tree, path)  # loading leaves no handle that would block the next write


def test_arviz_and_plain_xarray_open_the_file(tree, tmp_path):
    path = tmp_path / "posterior.nc"
    save_inference_data(tree, path)
    opened = az.from_netcdf(str(path))
    np.testing.assert_array_equal(opened.posterior["effect"], tree["posterior"]["effect"])
    assert az.extract(opened)["rate"].sizes["sample"] == 40
    assert np.isfinite(float(az.loo(opened, var_name="cases").elpd_loo))
    with xr.open_datatree(path, engine="h5netcdf") as nodes:
        assert set(nodes.children) == set(datasets_of(tree))
        assert list(nodes["posterior_predictive"]["week"].values) == WEEKS


def test_unnamed_axes_get_arviz_names():
    tree = to_inference_data({"posterior": {"x": np.zeros((1, 4, 3))}})
    assert tree["posterior"]["x"].dims == ("chain", "draw", "x_dim_0")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"postrior": {"x": np.zeros((1, 4))}}, "Group postrior was given"),
        ({}, r"Group \(none\) was given"),
        ({"posterior": {"x": np.zeros(4)}}, "expected leading axes chain and draw"),
        ({"posterior": {"cases": np.zeros((1, 4, 3))}}, "name every axis"),
        ({"posterior": {"cases": np.zeros((1, 4, 3, 5))}}, "has 5 entries, but its coordinate has 2"),
        (
            {"posterior": {"x": np.zeros((1, 4)), "y": np.zeros((1, 5))}},
            "has 5 entries, but variable x has 4",
        ),
    ],
)
def test_refuses_what_does_not_fit(groups, message):
    with pytest.raises(ValueError, match=message):
        to_inference_data(groups, {"week": WEEKS, "district": PLACES}, DIMS)


def test_loading_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_inference_data(tmp_path / "none.nc")
    (tmp_path / "bad.nc").write_text("not netcdf")
    with pytest.raises(ValueError, match="cannot be read as netCDF-4"):
        load_inference_data(tmp_path / "bad.nc")
    xr.Dataset({"x": 1}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="holds none of the groups"):
        load_inference_data(tmp_path / "other.nc")
