"""Calibration of a stochastic simulator by emulators of its mean outputs, from runs of one or more fidelities.

A Gauss-Newton warm start finds the mode, design rounds make runs where the posterior lies, a log-linear emulator with a quadratic term is
fitted to all of them, and Hamiltonian chains draw from its posterior. Fresh runs at the draws say how far the emulator can be believed.
"""

from calib.multifidelity._chains import run_chains as run_chains
from calib.multifidelity._chains import summary as summary
from calib.multifidelity._compiled_densities import inner as compiled_inner  # noqa: F401
from calib.multifidelity._design import FILE as ROUNDS_FILE  # noqa: F401
from calib.multifidelity._design import Pool as Pool
from calib.multifidelity._design import load_pool as load_pool
from calib.multifidelity._design import save_pool as save_pool
from calib.multifidelity._emulator import Emulator as Emulator
from calib.multifidelity._emulator import EmulatorSettings as EmulatorSettings
from calib.multifidelity._emulator import FeatureMap as FeatureMap
from calib.multifidelity._emulator import Runs as Runs
from calib.multifidelity._emulator import feature_jacobian as feature_jacobian
from calib.multifidelity._emulator import identity as identity
from calib.multifidelity._first_order import correction as correction
from calib.multifidelity._front import by_multifidelity as by_multifidelity
from calib.multifidelity._given import GivenLikelihood as GivenLikelihood
from calib.multifidelity._held_out import held_out as held_out
from calib.multifidelity._observations import Stream as Stream
from calib.multifidelity._observations import StreamObservations as StreamObservations
from calib.multifidelity._observations import observe as observe
from calib.multifidelity._pooled import PooledCoordinates as PooledCoordinates
from calib.multifidelity._pooled import pooled_problem as pooled_problem
from calib.multifidelity._posterior import EmulatorPosterior as EmulatorPosterior
from calib.multifidelity._posterior import Joint as Joint
from calib.multifidelity._problem import Fidelity as Fidelity
from calib.multifidelity._problem import Observations as Observations
from calib.multifidelity._problem import Problem as Problem
from calib.multifidelity._quadratic_fit import fit_quadratic as fit_quadratic
from calib.multifidelity._recorder import Recorder as Recorder
from calib.multifidelity._refine import Drawn as Drawn
from calib.multifidelity._refine import draw as draw
from calib.multifidelity._run import ASSESSED as ASSESSED
from calib.multifidelity._run import Result as Result
from calib.multifidelity._run import assess_flow as assess_flow
from calib.multifidelity._run import prepare as prepare
from calib.multifidelity._run import sample as sample
from calib.multifidelity._saved_runs import saved_runs as saved_runs
from calib.multifidelity._settings import Settings as Settings
from calib.multifidelity._shared_error import SharedError as SharedError
from calib.multifidelity._shared_error import WithErrors as WithErrors
from calib.multifidelity._start import FILE as WARM_START_FILE  # noqa: F401
from calib.multifidelity._start import load_warm_start as load_warm_start
from calib.multifidelity._start import warm_start as warm_start
from calib.multifidelity._threads import MAX_THREADS as MAX_THREADS
from calib.multifidelity._threads import allowed_threads as allowed_threads
from calib.multifidelity._threads import several_threads as several_threads
from calib.multifidelity._warm_start import WarmStart as WarmStart

__all__ = [name for name in dir() if not name.startswith("_")]
