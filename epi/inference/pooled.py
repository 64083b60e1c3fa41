"""Several studies at once, under one prior with a learnt standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch.distributions import Distribution

from calib.multifidelity import PooledCoordinates, Problem, identity, pooled_problem
from epi.data import Data
from epi.errors import StudyError
from epi.inference.problem import make_problem
from epi.model import Simulator

__all__ = ["pooled_studies"]


def pooled_studies(
    simulators: Mapping[str, Simulator],
    data: Mapping[str, Data],
    *,
    shared: Sequence[str],
    sd: Distribution | Mapping[str, Distribution] | None = None,
) -> tuple[Problem, PooledCoordinates]:
    """One problem of several studies, for `calib.multifidelity.sample` or `warm_start`: regions, waves or diseases.

    Args:
        simulators: of each study over its fitted weeks, by name; at least two.
        data: the observations of these weeks, by the same names.
        shared: parameters that all studies have, with one prior in each; they differ between studies by a standard deviation that is learnt.
        sd: its prior, in units of the prior's own; HalfNormal(1) if None.

    Returns:
        The problem, and the coordinates of each study in it: `coordinates.own(name, z)` are those of the study's own space, from which its
        simulator forecasts.

    Raises:
        StudyError: simulators and data have other names.
        ValueError: one study alone is given, or a shared parameter is missing in one or has another prior there.
    """
    if set(simulators) != set(data):
        raise StudyError(
            f"The pool has simulators of {', '.join(simulators)} and data of {', '.join(data)}; give both of the same studies."
        )
    problems = {
        name: make_problem({"values": own, "start": own, "slopes": own}, data[name], identity, [], name)
        for name, own in simulators.items()
    }
    sizes = {name: own.layout.size for name, own in simulators.items()}
    return pooled_problem(problems, sizes, shared=shared, sd=sd)
