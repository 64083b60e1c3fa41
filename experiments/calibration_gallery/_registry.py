"""All problems of the gallery by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from calib import Calibration
from experiments.calibration_gallery import _by_quadrature, _chain_binomials, _closed_forms, _pyro_models
from experiments.calibration_gallery._problem import Case, Problem, Reference
from experiments.calibration_gallery._references import load_references

PYRO_BUDGET = 20_000
STOCHASTIC = {"sir500": ((1, 2), 4000), "near_threshold": ((1, 2), 4000), "sir2000": ((1,), 4000)}
"""Data sets and budget of the chain binomials."""


def _pyro(problem: _pyro_models.PyroProblem) -> Problem:
    """An ordinary Pyro model with a posterior from the literature."""

    def build() -> Case:
        _, mean, sd = problem.reference()
        reference = Reference({"value": mean.numpy()}, {"value": sd.numpy()}, "long Hamiltonian chains")

        def values(found: Calibration, draws: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            if not set(problem.sites) <= set(draws):  # the reference names deterministic sites
                draws = dict(draws) | found.predict(len(next(iter(draws.values()))), seed=1)[1]
            return {"value": problem.columns(draws)}

        return Case({"model": problem.model, "data": problem.data()}, reference, values)

    return Problem(f"pyro_{problem.name}", build, ("Pyro model",), PYRO_BUDGET)


def _chain_binomial(name: str, number: int, budget: int) -> Problem:
    """A stochastic epidemic whose posterior a particle filter gives."""

    def build() -> Case:
        model, table = _chain_binomials.PROBLEMS[name], load_references()
        rows = table[(table["problem"] == name) & (table["number"] == number)].set_index("parameter")
        mean, sd = ({p: np.asarray(rows[column][p]) for p in rows.index} for column in ("mean", "sd"))
        arguments = {
            "model": model.simulate, "prior": model.priors, "data": _chain_binomials.data_set(name, number),
            "likelihood": _chain_binomials.reports_given,
        }  # fmt: skip
        return Case(arguments, Reference(mean, sd, "particle filter"))

    return Problem(f"{name}_{number}", build, ("stochastic", "counts"), budget, ("abc-regression", "importance"))


PROBLEMS: dict[str, Problem] = {
    p.name: p
    for p in (
        *_closed_forms.PROBLEMS,
        *_by_quadrature.PROBLEMS,
        *(_chain_binomial(name, n, budget) for name, (numbers, budget) in STOCHASTIC.items() for n in numbers),
        *(_pyro(p) for p in _pyro_models.PROBLEMS),
    )
}
