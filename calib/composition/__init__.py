"""Functions before a simulator's parameters: random walks, Gaussian processes and networks of covariates, with priors of their weights.

A `Block` gives one parameter of a simulator as a function of region, time and covariates. `compose` puts blocks before a simulator;
`fit_function` finds the posterior of the function by Gauss-Newton steps whose number of simulations does not depend on the number of
weights. `pooled` calibrates several regions, waves or diseases under one prior with a learnt standard deviation.
"""

from calib.composition._block import Block as Block
from calib.composition._compose import Composed as Composed
from calib.composition._compose import compose as compose
from calib.composition._family import Family as Family
from calib.composition._family import Function as Function
from calib.composition._family import Setting as Setting
from calib.composition._family import learnt_sd as learnt_sd
from calib.composition._fit_function import FunctionPosterior as FunctionPosterior
from calib.composition._fit_function import fit_function as fit_function
from calib.composition._left_out import LeftOut as LeftOut
from calib.composition._left_out import leave_one_region_out as leave_one_region_out
from calib.composition._linear_families import gaussian_process as gaussian_process
from calib.composition._linear_families import linear as linear
from calib.composition._linear_families import random_walk as random_walk
from calib.composition._linear_families import region_effect as region_effect
from calib.composition._networks import gru as gru
from calib.composition._networks import mlp as mlp
from calib.composition._networks import module as module
from calib.composition._networks import neural_cde as neural_cde
from calib.composition._pooled import Pooled as Pooled
from calib.composition._pooled import Region as Region
from calib.composition._pooled import pool as pool
from calib.composition._pooled import pooled as pooled

__all__ = [name for name in dir() if not name.startswith("_")]
