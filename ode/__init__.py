"""Within-host dynamics: from parameters and kinds of host to viral load, and from that to infectiousness."""

from ode._archetypes import AGE_MIDPOINTS as AGE_MIDPOINTS
from ode._archetypes import DAYS_SINCE_LAST_DOSE as DAYS_SINCE_LAST_DOSE
from ode._archetypes import INFECTION_EQUALS_DOSES as INFECTION_EQUALS_DOSES
from ode._archetypes import Archetypes as Archetypes
from ode._archetypes import archetypes_by_age_and_dose as archetypes_by_age_and_dose
from ode._course import Solver as Solver
from ode._dynamics import STATE as STATE
from ode._dynamics import antibody_titre as antibody_titre
from ode._interventions import chirho_model as chirho_model
from ode._interventions import chirho_solver as chirho_solver
from ode._interventions import simulate_with_chirho as simulate_with_chirho
from ode._links import infectiousness as infectiousness
from ode._links import shedding as shedding
from ode._links import susceptibility as susceptibility
from ode._parameters import PRIORS as PRIORS
from ode._parameters import Prior as Prior
from ode._parameters import WithinHostParameters as WithinHostParameters
from ode._parameters import prior_draws as prior_draws
from ode._parameters import prior_median as prior_median
from ode._severity import SEVERITY_PRIORS as SEVERITY_PRIORS
from ode._severity import severity as severity
from ode._severity import waned as waned
from ode._treatment import Treatment as Treatment
from ode._within_host import WithinHost as WithinHost
from ode._within_host import within_host as within_host

__project__ = "posterity"
