"""The population epidemic: rates in, incidence out, with gradients through discrete infections."""

from sim._primitive import BACKENDS as BACKENDS
from sim._primitive import epidemic as epidemic
from sim._primitive import jacobian as jacobian
from sim.population import Population as Population
from sim.rates import COMMUNITY as COMMUNITY
from sim.rates import HOUSEHOLD as HOUSEHOLD
from sim.rates import VENUES as VENUES
from sim.rates import Rates as Rates
