"""A folder as a run leaves it, with made-up but plausible numbers: for tests of the drawing and the report only."""

from pathlib import Path

import numpy as np
import pandas as pd

from calib._atomic import atomic_write_csv, atomic_write_json
from calib._hub import hub_rows, quantile_table
from calib._idata import save_inference_data, to_inference_data
from calib._jacobian_file import load_jacobian, save_jacobian
from calib._runfolder import RunFolder
from calib._scores import Forecast, score_run
from epi.data import observed as data_of
from epi.outputs.derivatives import sensitivity_table
from tests.experiments import nz

WEEKS = pd.date_range("2022-02-06", "2022-05-29", freq="W-SUN")
ISO = [week.date().isoformat() for week in WEEKS]
FITTED = (WEEKS <= "2022-03-13") & (WEEKS != "2022-02-27")
MASKED = WEEKS == "2022-02-27"
SCALARS = {  # name: (median, sigma of the log, unit, how much the fit narrows it)
    "decay": (0.6, 0.3, "per day", 0.1),
    "transmission_household": (0.6, 0.3, "per infection", 0.5),
    "transmission_school": (0.7, 0.5, "per infection", 0.4),
    "transmission_work": (0.6, 0.5, "per infection", 0.3),
    "transmission_community": (1.1, 0.4, "per infection", 0.8),
    "aversion": (0.5, 0.7, "per 1 %/day", 0.7),
    "forgetting": (0.07, 0.5, "per day", 0.2),
    "ascertainment_pcr": (0.35, 0.3, "share", 0.6),
    "ascertainment_rat": (0.5, 0.2, "share", 0.5),
    "severity_level": (0.0035, 0.5, "per infection", 0.9),
    "severity_age": (0.45, 0.25, "per decade", 0.85),
    "seed_level": (10.0, 0.8, "per 10,000", 0.7),
    "dispersion_district": (0.2, 0.5, "relative sd", 0.7),
}
VECTORS = {"district_effect": nz.DISTRICTS, "age_contact": nz.AGE_BANDS, "drift": ("7 March", "4 April", "2 May")}


def names():
    return [*SCALARS, *(f"{site}[{label}]" for site, labels in VECTORS.items() for label in labels)]


def parameter_draws(rng, count, narrowed):
    z = rng.normal(size=(count, len(names())))
    if narrowed:
        shrink = np.array(
            [1 - s[3] for s in SCALARS.values()] + [0.5] * len(nz.DISTRICTS) + [0.6] * len(nz.AGE_BANDS) + [0.95] * 3
        )
        z = z * shrink + 0.6 * np.sin(np.arange(len(shrink))) * (1 - shrink)
        z[:, 4] += -0.5 * z[:, 5]
    groups, at = {}, len(SCALARS)
    for i, (name, (median, sigma, _, _)) in enumerate(SCALARS.items()):
        groups[name] = (median * np.exp(sigma * z[:, i]))[None]
    for site, labels in VECTORS.items():
        own = z[None, :, at : at + len(labels)]
        groups[site] = np.exp(0.2 * own) if site == "age_contact" else own
        at += len(labels)
    return z, groups


def predictive(rng, observed, count, sd):
    """Draws around a smoothed version of what happened, wider the further ahead."""
    smooth = pd.DataFrame(observed).ffill().bfill().rolling(3, center=True, min_periods=1).mean().to_numpy()
    ahead = np.maximum(np.arange(len(WEEKS)) - 5, 0)[:, None]
    common = rng.normal(size=(count, 1, 1)) * (0.08 + 0.05 * ahead) * sd
    own = rng.normal(size=(count, 1, observed.shape[1])) * (0.1 + 0.02 * ahead) * sd
    mean = (smooth + 0.5) * np.exp(common + own + 0.1 * np.sin(np.arange(observed.shape[1])) * ahead / 8)
    return rng.negative_binomial(25, 25 / (25 + mean)).astype(float)


def past_of(epidemic_data, name, weeks):
    table = np.nan_to_num(epidemic_data.series[name].loc[weeks].to_numpy(float))
    return table if len(table) > 2 else table[:0]


def stream_information_of(rng):
    """Made-up widths of a few parameters and an output for every stream."""
    quantities = [*names()[:6], "cases in the forecast weeks", "infections to the forecast date"]
    rows = [
        {"option": option, "fitted": option in ("cases", "admissions"), "quantity": q, "output": " " in q, "sd": 0.3, "sd_other": 0.4,
         "wider": 1 + rng.exponential(0.3), "shown": True}
        for option in nz.OPTIONS
        for q in quantities
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_run(folder: Path, draws: int = 300, kept: int = 60, notices: bool = True) -> Path:
    rng = np.random.default_rng(0)
    epidemic_data = nz.tables()
    run = RunFolder.create(
        folder,
        "nz_calibration",
        {"study": nz.SOURCE, "scale": 0.02, "gradient": "reverse", "flow": "gaussian", "streams": ["cases"]},
        1,
    )
    data = data_of(epidemic_data, WEEKS, ("cases", "admissions"))
    observed = {name: x.numpy() for name, x in data.counts.items()}
    in_likelihood = {f"in_likelihood_{name}": x.numpy() for name, x in data.in_likelihood.items()}
    z, posterior = parameter_draws(rng, draws, narrowed=True)
    _, prior = parameter_draws(rng, draws, narrowed=False)
    predicted = {name: predictive(rng, y, draws, 1.0) for name, y in observed.items()}
    wide = {name: predictive(rng, y, draws, 4.0) for name, y in observed.items()}
    chain = {name: y[None] for name, y in predicted.items()}
    chain["infections_district"] = chain["cases_district"] / 0.45
    place = {name: stream.by for name, stream in nz.STREAMS.items()} | {"infections_district": "district"}
    dims = {name: ("week", axis) for name, axis in place.items()}
    dims |= {f"in_likelihood_{name}": ("week", stream.by) for name, stream in nz.STREAMS.items()}
    dims |= {"district_effect": ("district",), "age_contact": ("age",), "drift": ("knot",)}
    dims |= {"fitted_week": ("week",), "masked_week": ("week",), "population_district": ("district",)}
    dims |= {"population_age": ("age",)}
    save_inference_data(
        to_inference_data(
            {
                "posterior": {name: x.reshape(4, -1, *x.shape[2:]) for name, x in posterior.items()},
                "forecast_draws": posterior,
                "prior": prior,
                "posterior_predictive": chain,
                "prior_predictive": {name: y[None] for name, y in wide.items()},
                "observed_data": observed,
                "sample_stats": {
                    "lp": rng.normal(size=(4, draws // 4)),
                    "energy": rng.normal(size=(4, draws // 4)),
                    "diverging": np.zeros((4, draws // 4)),
                },
                "constant_data": {
                    "fitted_week": np.asarray(FITTED),
                    "masked_week": np.asarray(MASKED),
                    "population_district": epidemic_data.population.sum(1),
                    "population_age": epidemic_data.population.sum(0),
                    **in_likelihood,
                },
            },
            coords={"week": ISO, "knot": VECTORS["drift"], "district": nz.DISTRICTS}
            | {stream.by: nz.PLACES[name] for name, stream in nz.STREAMS.items()},
            dims=dims,
        ),
        folder / "posterior.nc",
    )
    steps = np.arange(1, 901)
    curve = -5200 - 9000 * np.exp(-steps / 60) - 300 * np.exp(-steps / 300)
    elbo = curve + rng.normal(size=900) * (40 + 400 * np.exp(-steps / 80))
    elbo[[100, 333]] = np.nan
    pd.DataFrame(
        {
            "step": steps,
            "elbo": elbo,
            "elbo_smoothed": pd.Series(elbo).ewm(span=50, ignore_na=True).mean(),
            "seconds": steps * 0.5,
            "skipped": np.isnan(elbo).astype(int),
        }
    ).to_csv(folder / "history.csv", index=False)
    jacobian_of(rng, folder, predicted, z, kept)
    table = sensitivity_table(
        load_jacobian(folder / "jacobian.nc"), "2022-03-20", np.random.default_rng(1), replicates=60
    )
    atomic_write_csv(folder / "sensitivity.csv", table)
    history = slice("2022-01-30", "2022-03-13")
    later = WEEKS > "2022-03-13"
    scores = score_run(
        {
            name: Forecast(
                predicted[name][:, later], y[later], past_of(epidemic_data, name, history), nz.PLACES[name],
            )
            for name, y in observed.items()
        },
        np.random.default_rng(2),
    )  # fmt: skip
    atomic_write_json(folder / "scores.json", scores)
    atomic_write_csv(folder / "stream_information.csv", stream_information_of(rng))
    hub_rows(quantile_table(predicted["cases_district"][:, later]), "2022-03-13", "cases", nz.DISTRICTS).to_csv(
        folder / "forecast.csv", index=False
    )
    for phase, seconds in {
        "population": 21.4,
        "fit": 450.2,
        "forecast": 61.0,
        "sensitivity": 2.1,
        "figures": 9.8,
    }.items():
        run.manifest["timings"][phase] = seconds
    run.count("fit", 7200)
    run.count("forecast", 300)
    run.skip("steps", 2)
    parameters = []
    flat = np.concatenate([np.atleast_2d(prior[name][0].T) for name in (*SCALARS, *VECTORS)])
    for name, values in zip(names(), flat, strict=True):
        site = name.split("[")[0]
        low, median, high = np.quantile(values, (0.05, 0.5, 0.95))
        parameters.append(
            {
                "name": name,
                "label": name.replace("_", " "),
                "unit": SCALARS[site][2] if site in SCALARS else "standardised",
                "family": "lognormal" if site in SCALARS else "normal",
                "prior_median": float(median),
                "prior_low": float(low),
                "prior_high": float(high),
                "reason": "Reported over border-workforce incidence was 0.26-0.35 in these weeks (a made-up reason).",
            }
        )
    if notices:
        run.notice("The fit was stopped by its time limit of 8 minutes before the ELBO had settled.")
    run.update(
        parameters=parameters, agents=104092, population=["104,092 agents in 39,211 households"],
        fit={"stopped_because": "max_seconds", "steps": 900},
        importance={
            "k_hat": 0.42, "word": "good", "text": "k-hat 0.42 from 4000 draws is good", "effective": 1200.0, "draws": 4000,
            "threshold": 0.7, "elbo": -1130.0, "log_evidence": -1127.5,
        },
        sampler={
            "chains": 64, "draws": 7680, "step": 0.3, "accepted": 0.8, "divergent": 0, "r_hat": 1.02, "r_hat_median": 1.005, "effective": 900.0,
        },
        emulator={"runs": 216, "curvature": 0.35, "error_median": 0.04, "residual_median": 0.07},
        beyond_runs={"share": 0.001, "followed": 1},
        held_out={"draws": 96, "median": 0.8, "largest": 1.2, "off_median": 0.1},
        common_errors={"count": 48, "share_of_variance": 0.8},
        simulator_noise={
            "runs": 16, "relative_sd_national": 0.031, "dispersion_district": 0.19,
            "relative_sd_district": {name: 0.05 + 0.02 * i for i, name in enumerate(nz.DISTRICTS)},
        },
    )  # fmt: skip
    run.update(status="complete")
    return folder


def jacobian_of(rng, folder, predicted, z, kept):
    """Exact gradients of a log-linear toy, so that ranks mean something, with noise and one damaged draw."""
    streams = {"cases_district": nz.DISTRICTS, "admissions_age": nz.AGE_BANDS}
    labels = [(s, week, place) for s, places in streams.items() for week in ISO for place in places]
    expected = np.concatenate(
        [predicted[s][:kept].mean(0, keepdims=True).repeat(kept, 0).reshape(kept, -1) for s in streams], 1
    )
    scale = np.exp(-np.arange(len(names())) / 6.0) * np.where(np.arange(len(names())) % 2, 1, -1)
    growth = np.array([ISO.index(week) / 8 for _, week, _ in labels])
    elasticity = 0.6 * scale * (1 + 0.3 * rng.normal(size=(kept, 1, len(names()))))
    time = np.stack([np.ones_like(growth), growth], -1) @ rng.normal(size=(2, len(names())))
    jacobian = expected[..., None] * elasticity * (0.5 + np.abs(time))
    jacobian += rng.normal(size=jacobian.shape) * 0.02 * expected[..., None]
    jacobian[5] = np.nan
    stream, week, place = zip(*labels, strict=True)
    save_jacobian(
        folder / "jacobian.nc", expected, jacobian, z[:kept], names(), {"stream": stream, "week": week, "place": place}
    )
