"""Differential privacy of counts: a release with noise, what it promises, and a likelihood that knows the noise.

See docs/privacy.md for what is protected against whom.
"""

from calib.privacy._accountant import MissingAccountant as MissingAccountant
from calib.privacy._accountant import epsilon_bound as epsilon_bound
from calib.privacy._accountant import epsilon_of as epsilon_of
from calib.privacy._allocation import StreamInformation as StreamInformation
from calib.privacy._allocation import allocate as allocate
from calib.privacy._likelihood import NoisyObservations as NoisyObservations
from calib.privacy._likelihood import naive as naive
from calib.privacy._release import Released as Released
from calib.privacy._release import release as release

__all__ = [name for name in dir() if not name.startswith("_")]
