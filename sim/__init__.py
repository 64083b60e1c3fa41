"""The population epidemic: rates in, incidence out, with gradients through discrete infections."""

from sim._draws import Bernoulli as Bernoulli
from sim._draws import Categorical as Categorical
from sim._draws import score_function as score_function
from sim._estimators import ESTIMATORS as ESTIMATORS
from sim._estimators import EstimatorOptions as EstimatorOptions
from sim._primitive import BACKENDS as BACKENDS
from sim._primitive import epidemic as epidemic
from sim._primitive import jacobian as jacobian
from sim._primitive import state_after as state_after
from sim.population import Population as Population
from sim.rates import COMMUNITY as COMMUNITY
from sim.rates import HOUSEHOLD as HOUSEHOLD
from sim.rates import PERIOD as PERIOD
from sim.rates import VENUES as VENUES
from sim.rates import Rates as Rates
from sim.start import InfectedBefore as InfectedBefore

__project__ = "posterity"
