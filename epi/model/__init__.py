"""From parameters to rates, and from infections to expected observations: the parts of a study composed."""

from epi.model.distributions import observation_distribution as observation_distribution
from epi.model.distributions import variance as variance
from epi.model.epidemic import Epidemic as Epidemic
from epi.model.observation import Observation as Observation
from epi.model.observation import make_observation as make_observation
from epi.model.observation import observe as observe
from epi.model.parameters import distribution as distribution
from epi.model.parameters import parameter_space as parameter_space
from epi.model.pyro_model import Simulate as Simulate
from epi.model.pyro_model import model as model
from epi.model.reproduction import next_generation as next_generation
from epi.model.reproduction import reproduction_number as reproduction_number
from epi.model.setting import HostTables as HostTables
from epi.model.setting import Setting as Setting
from epi.model.setting import prepare as prepare
from epi.model.simulator import Simulator as Simulator
from epi.model.state import State as State
from epi.model.state import state_from_infections as state_from_infections
from epi.model.streams import design_effect as design_effect
from epi.model.streams import rogan_gladen as rogan_gladen
from epi.model.transmission import Context as Context
from epi.model.transmission import make_context as make_context
from epi.model.transmission import make_rates as make_rates
