import doctest
from datetime import date

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import norm

import calib._idata
from calib._idata import datasets_of, load_inference_data, save_inference_data, to_inference_data, without_missing

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
        ({"posterior": {"x": np.zeros((1, 4))}, "forecasts": {"x": np.zeros((1, 4))}}, "Group forecasts was given"),
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


CHAINS, DRAWS, REPLICATES = 8, 150, 5
DAYS = np.array(WEEKS, dtype="datetime64[D]")
OBSERVED = np.array([[1.2, 0.4], [0.3, np.nan], [1.9, 0.7]])


@pytest.fixture(scope="module")
def chains():
    """Normal data of unit variance with a mean that has a wide normal prior: exact draws in chains, saved and read again.

    One cell of the data is missing. The log likelihood is kept of every third draw.
    """
    rng = np.random.default_rng(1)
    known = OBSERVED[np.isfinite(OBSERVED)]
    precision = 0.01 + known.size
    mean = known.sum() / precision + rng.normal(size=(CHAINS, DRAWS)) / precision**0.5
    part = mean[:, ::3]
    predicted = part[:, :20, None, None, None] + rng.normal(size=(CHAINS, 20, REPLICATES, 3, 2))
    momentum = rng.normal(size=(CHAINS, DRAWS, 3))
    log_density = norm.logpdf(mean, known.mean(), precision**-0.5)
    return to_inference_data(
        {
            "posterior": {"mean": mean, "effect": rng.normal(size=(CHAINS, DRAWS, 2))},
            "forecast_draws": {"mean": part[:, :20]},
            "posterior_predictive": {"cases": predicted},
            "log_likelihood": {"cases": norm.logpdf(OBSERVED, part[..., None, None])},
            "sample_stats": {
                "lp": log_density,
                "energy": 0.5 * (momentum**2).sum(-1) - log_density,
                "diverging": (rng.random((CHAINS, DRAWS)) < 0.01).astype(int),
            },
            "observed_data": {"cases": OBSERVED},
        },
        {"week": DAYS, "district": PLACES},
        {"cases": ("week", "district"), "effect": ("district",)},
        units={"mean": "cases", "cases": "cases a week"},
        descriptions={"cases": "reported cases of a made-up place"},
        attrs={"study": "made up"},
        group_coords={"log_likelihood": {"draw": np.arange(0, DRAWS, 3)}},
    )


@pytest.fixture(scope="module")
def saved(chains, tmp_path_factory):
    path = tmp_path_factory.mktemp("arviz") / "posterior.nc"
    save_inference_data(chains, path, {"study": "made up"})
    return az.from_netcdf(str(path))


def test_chains_labels_dates_and_units_are_in_the_file(saved):
    assert dict(saved.posterior.sizes) == {"chain": CHAINS, "draw": DRAWS, "district": 2}
    assert saved.observed_data["week"].dtype.kind == "M"
    assert float(saved.observed_data["cases"].sel(week="2022-02-13", district="Northland")) == 0.3
    np.testing.assert_array_equal(saved.log_likelihood["draw"], np.arange(0, DRAWS, 3))
    assert saved.posterior_predictive["cases"].dims == ("chain", "draw", "replicate", "week", "district")
    assert saved.sample_stats["diverging"].dtype == bool
    assert saved.posterior["mean"].attrs["units"] == "cases"
    assert saved.observed_data["cases"].attrs["description"] == "reported cases of a made-up place"
    for dataset in datasets_of(saved).values():
        assert (dataset.attrs["inference_library"], dataset.attrs["study"]) == ("posterity", "made up")


def test_dates_of_any_kind_are_dates():
    days = [date(2022, 2, 6), date(2022, 2, 13)]
    for labels in (days, np.array(days, dtype="datetime64[D]"), np.array(days, dtype="datetime64[s]")):
        tree = to_inference_data({"observed_data": {"x": np.zeros(2)}}, {"week": labels}, {"x": ["week"]})
        assert tree["observed_data"]["week"].dtype == np.dtype("datetime64[ns]")


def test_r_hat_is_recomputed_from_the_file_and_sees_a_chain_that_stuck(saved):
    good = az.rhat(saved)
    assert float(good["mean"]) < 1.01
    assert float(az.summary(saved, var_names=["mean"])["r_hat"].iloc[0]) < 1.02
    stuck = saved.copy()
    stuck.posterior["mean"][0] += 3.0
    assert float(az.rhat(stuck)["mean"]) > 1.1
    assert float(az.bfmi(saved).min()) > 0.3


@pytest.mark.parametrize(
    "plot",
    [
        lambda tree: az.plot_trace(tree, var_names=["mean", "effect"]),
        lambda tree: az.plot_pair(tree, var_names=["mean", "effect"], divergences=True),
        lambda tree: az.plot_forest(tree, r_hat=True),
        lambda tree: az.plot_rank(tree, var_names=["mean"]),
        lambda tree: az.plot_ppc(tree, coords={"district": ["Northland"]}),
        lambda tree: az.plot_energy(tree),
    ],
    ids=["trace", "pair", "forest", "rank", "ppc", "energy"],
)
def test_arviz_draws_the_file(saved, plot):
    try:
        axes = plot(saved)
        assert np.size(axes) > 0
        assert plt.gcf().axes[0].has_data()
        plt.gcf().canvas.draw()
    finally:
        plt.close("all")


def test_loo_of_the_file_is_the_closed_form(saved):
    """Each observation predicted by the others: normal, since prior and likelihood are."""
    assert np.isnan(az.loo(saved).elpd_loo)  # the missing cell
    ready = without_missing(saved)
    found = az.loo(ready, pointwise=True)
    known = OBSERVED[np.isfinite(OBSERVED)]
    rest, precision = known.sum() - known, 0.01 + known.size - 1
    exact = norm.logpdf(known, rest / precision, (1 + 1 / precision) ** 0.5)
    np.testing.assert_allclose(found.loo_i.to_numpy(), exact, atol=0.06)
    assert found.elpd_loo == pytest.approx(exact.sum(), abs=0.1)
    labels = ready.log_likelihood["cases_observation"].to_numpy().tolist()
    assert labels[:3] == ["2022-02-06, Northland", "2022-02-06, Hawke's Bay", "2022-02-13, Northland"]
    assert len(labels) == 5
    np.testing.assert_array_equal(saved.log_likelihood["cases"].isnull().any(("chain", "draw")), np.isnan(OBSERVED))


def test_what_loo_cannot_use_is_refused(chains):
    with pytest.raises(ValueError, match="no group log_likelihood"):
        without_missing(to_inference_data({"posterior": {"x": np.zeros((1, 4))}}))
    values = np.zeros((1, 4, 3))
    values[0, 2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN in some draws"):
        without_missing(to_inference_data({"log_likelihood": {"x": values}}))
    with pytest.raises(ValueError, match="NaN everywhere"):
        without_missing(to_inference_data({"log_likelihood": {"x": values * np.nan}}))


def test_descriptions_and_labels_that_fit_nothing_are_refused():
    groups = {"posterior": {"x": np.zeros((1, 4, 2))}}
    with pytest.raises(ValueError, match="given for y, which no group holds"):
        to_inference_data(groups, units={"y": "days"})
    with pytest.raises(ValueError, match=r"Labels of axis place .* repeat"):
        to_inference_data(groups, {"place": ["a", "a"]}, {"x": ["place"]})
    with pytest.raises(ValueError, match="Group prediction was given"):
        to_inference_data(groups, group_coords={"prediction": {}})


def test_the_example_runs():
    assert doctest.testmod(calib._idata).failed == 0
