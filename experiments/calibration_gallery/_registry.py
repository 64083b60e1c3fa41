"""All problems of the gallery by name."""

from __future__ import annotations

from experiments.calibration_gallery import _by_quadrature, _closed_forms
from experiments.calibration_gallery._problem import Problem

PROBLEMS: dict[str, Problem] = {p.name: p for p in (*_closed_forms.PROBLEMS, *_by_quadrature.PROBLEMS)}
