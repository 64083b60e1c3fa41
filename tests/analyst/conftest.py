"""The finished run of the study that `posterity new` writes."""

import shutil
from pathlib import Path

import pytest

from epi.analyst import Source, Toolbox


@pytest.fixture(scope="session")
def run(new_study, tmp_path_factory) -> Path:
    """A copy, in which answers are kept."""
    return shutil.copytree(new_study[0] / "run", tmp_path_factory.mktemp("analyst") / "run")


@pytest.fixture(scope="session")
def box(run) -> Toolbox:
    """The tools, simulating in this process."""
    return Toolbox(Source(run, draws=4, apart=False))
