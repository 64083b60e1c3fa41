"""Every diagnostic with its question, what it needs, and its three functions, in the order to look at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from calib.diagnostics import _coverage, _draw, _local, _misspecification, _predictive, _sbc, _weights
from calib.diagnostics._verdict import Verdict


@dataclass(frozen=True)
class Diagnostic:
    """One diagnostic.

    Attributes:
        name: as in docs/diagnostics.md.
        question: what it answers.
        needs: arrays it cannot do without, by the names of docs/diagnostics.md.
        compute: arrays by name to a frozen dataclass.
        judge: what was computed to a verdict.
        draw: what was computed to a figure.
        takes: further arguments of `compute` that `check` passes on.
        source: where it comes from.
    """

    name: str
    question: str
    needs: tuple[str, ...]
    compute: Callable[..., Any]
    judge: Callable[[Any], Verdict]
    draw: Callable[[Any], Figure]
    takes: tuple[str, ...] = ()
    source: str = ""


DIAGNOSTICS: tuple[Diagnostic, ...] = (
    Diagnostic(
        "misspecification",
        "Can the simulator produce such data at all?",
        ("observed", "prior_predictive"),
        _misspecification.compute_misspecification,
        _misspecification.judge_misspecification,
        _draw.draw_misspecification,
        source="Gretton et al. 2012; Ledoit & Wolf 2004",
    ),
    Diagnostic(
        "prior_predictive",
        "Do the priors cover the data?",
        ("observed", "prior_predictive"),
        _misspecification.compute_prior_predictive,
        _misspecification.judge_prior_predictive,
        _draw.draw_prior_predictive,
        source="Gabry et al. 2019",
    ),
    Diagnostic(
        "k_hat",
        "Is the fitted distribution near the posterior?",
        ("log_joint", "log_q"),
        _weights.compute_k_hat,
        _weights.judge_weights,
        _draw.draw_weights,
        source="Vehtari et al. 2024; Yao et al. 2018",
    ),
    Diagnostic(
        "posterior_predictive",
        "Does the fitted model reproduce the data?",
        ("observed", "posterior_predictive"),
        _predictive.compute_posterior_predictive,
        _predictive.judge_posterior_predictive,
        _draw.draw_posterior_predictive,
        takes=("groups",),
        source="Gelman, Meng & Stern 1996",
    ),
    Diagnostic(
        "sbc",
        "Is each parameter's interval honest?",
        ("thetas", "samples"),
        _sbc.compute_sbc,
        _sbc.judge_sbc,
        _draw.draw_sbc,
        takes=("names", "seed"),
        source="Talts et al. 2018; Säilynoja et al. 2022",
    ),
    Diagnostic(
        "averaged_posterior",
        "Does the posterior, averaged over data, give back the prior?",
        ("thetas", "samples"),
        _sbc.compute_averaged_posterior,
        _sbc.judge_averaged_posterior,
        _draw.draw_averaged_posterior,
        takes=("prior_samples", "names", "seed"),
        source="Talts et al. 2018; Lopez-Paz & Oquab 2017",
    ),
    Diagnostic(
        "coverage",
        "Does the joint region hold the truth as often as it says?",
        ("log_prob_thetas", "log_prob_samples"),
        _coverage.compute_coverage,
        _coverage.judge_coverage,
        _draw.draw_coverage,
        takes=("seed",),
        source="Deistler et al. 2022; Hermans et al. 2022",
    ),
    Diagnostic(
        "tarp",
        "Do balls around random points hold the truth as often as they should?",
        ("thetas", "samples"),
        _coverage.compute_tarp,
        _coverage.judge_coverage,
        _draw.draw_coverage,
        takes=("references", "seed"),
        source="Lemos et al. 2023",
    ),
    Diagnostic(
        "local_c2st",
        "Is the posterior right at these data?",
        ("thetas", "xs", "samples", "observed", "posterior"),
        _local.compute_local_c2st,
        _local.judge_local_c2st,
        _draw.draw_local_c2st,
        takes=("seed",),
        source="Linhart et al. 2023",
    ),
)
