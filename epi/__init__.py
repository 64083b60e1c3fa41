"""What every epidemic calibration shares: study, data, population, model, inference, outputs, reporting, scenarios, sensitivity."""

from epi.errors import StudyError as StudyError
from epi.study import *  # noqa: F403
from epi.study import __all__ as _names

__all__ = ["StudyError", *_names]

__project__ = "posterity"
