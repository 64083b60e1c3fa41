"""Random numbers by name, maps of priors, layers of flows, and threads of kernels."""

from calib._layers import Layer as Layer
from calib._maps import NormalMap as NormalMap
from calib._noise import base_noise as base_noise
from calib._noise import derive_seed as derive_seed
from calib._thread_tuner import ThreadTuner as ThreadTuner
from calib._thread_tuner import kernel_threads as kernel_threads
