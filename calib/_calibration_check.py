"""One page of verdicts on a calibration, from its own simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from calib._noise import derive_seed
from calib._simulator import Rows

if TYPE_CHECKING:
    from calib._calibration import Calibration
    from calib._observed import Likelihood
    from calib._pyro_density import PyroDensity
    from calib.diagnostics import Page, Verdict

GRADES = {"good": "pass", "usable": "warn", "poor": "fail", "unfinished": "fail"}


def check_calibration(
    found: Calibration,
    simulator: Callable[[Mapping[str, Tensor], int], Tensor] | None,
    likelihood: Likelihood | None,
    draws: int,
    seed: int,
) -> Page:
    """See `Calibration.check`."""
    from calib.diagnostics import check

    if found.density is not None:
        return _check_pyro(found, found.density, draws, seed)
    if found.data is None or likelihood is None or simulator is None:
        raise ValueError(
            "the check draws data, but this calibration has no likelihood of data given outputs (a Pyro model that was read from "
            "a file, or a simulator of the log likelihood): its verdict is in found.verdict."
        )
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "check-draws"))
    prior = found.space.sample_prior(draws, generator, dtype=torch.float64)
    posterior = found.sample(draws, generator, corrected=found.can_correct)
    observed = np.asarray(found.data, dtype=float).reshape(-1)
    present = np.isfinite(observed)  # what is missing has nothing to be compared with
    rows = Rows(simulator)
    page = check(
        observed=observed[present],
        prior_predictive=_data(rows, likelihood, prior, derive_seed(seed, 0, "check-prior"))[:, present],
        posterior_predictive=_data(rows, likelihood, posterior, derive_seed(seed, 0, "check-posterior"))[:, present],
    )
    return _with_verdict(found, page)


def _check_pyro(found: Calibration, density: PyroDensity, draws: int, seed: int) -> Page:
    """The same for a Pyro model, which draws its own data."""
    from calib.diagnostics import check

    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "check-draws"))
    observed = density.observed()
    if not observed:
        raise ValueError("the model has factors and no observed site, so there are no data to check against.")
    flat = np.concatenate([value.double().numpy().reshape(-1) for value in observed.values()])
    present = np.isfinite(flat)  # what is masked has nothing to be compared with
    prior = found.space.sample_prior(draws, generator, dtype=torch.float64)
    posterior = found.sample(draws, generator)
    rows = []
    for theta, purpose in ((prior, "check-prior"), (posterior, "check-posterior")):
        drawn, _ = density.predict(theta, derive_seed(seed, 0, purpose))
        row = np.concatenate([drawn[name].double().numpy().reshape(draws, -1) for name in observed], axis=1)[:, present]
        rows.append(row[np.isfinite(row).all(1)])
    if min(len(row) for row in rows) < 20:
        raise ValueError(
            f"{min(len(row) for row in rows)} draws of the model were finite, expected at least 20: check its priors."
        )
    return _with_verdict(found, check(observed=flat[present], prior_predictive=rows[0], posterior_predictive=rows[1]))


def _with_verdict(found: Calibration, page: Page) -> Page:
    judged = (_of_flow(found, v) if v.name == "k_hat" else v for v in page.verdicts)
    return replace(page, verdicts=tuple(v for v in judged if v.word != "not run"))


def _data(
    rows: Rows,
    likelihood: Likelihood,
    theta: Mapping[str, Tensor],
    seed: int,
) -> np.ndarray:
    """Data drawn at parameters, `[S, K]`; runs that are not finite are left out.

    Raises:
        ValueError: fewer than 20 were finite.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = rows(theta, seed)
        outputs = outputs[torch.isfinite(outputs).all(1)]
        if len(outputs) < 20:
            raise ValueError(
                f"{len(outputs)} simulations were finite, expected at least 20 to check against; look at the simulator."
            )
        torch.manual_seed(seed)
        return np.asarray(likelihood(outputs).sample(), dtype=float).reshape(len(outputs), -1)


def _of_flow(found: Calibration, empty: Verdict) -> Verdict:
    """The verdict that the calibration carries; it was reached when the calibration was made."""
    own = found.verdict
    threshold = "good to 0.5, usable to 0.7 (less for few draws), poor above; with the effective share and convergence"
    if found.chains is not None:
        threshold = "good with R-hat below 1.01, 400 effective draws, and 1 divergent transition in 1,000 at most"
    value = float("nan") if own.evidence.k_hat is None else own.evidence.k_hat
    text = f"{own.state}: {' '.join(own.reasons)}".removesuffix(".")  # the page ends its sentences itself
    advice = own.advice.removesuffix(".")
    return replace(empty, word=GRADES[own.state], value=value, threshold=threshold, text=text, advice=advice)  # type: ignore[arg-type]
