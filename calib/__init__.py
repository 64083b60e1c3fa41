"""Inference and sensitivity for any simulator: parameter spaces, flows, gradients, fits, scores."""

from calib._flows import FLOWS as FLOWS
from calib._flows import Flow as Flow
from calib._flows import make_flow as make_flow
from calib._gradients import attach_jacobian as attach_jacobian
from calib._gradients import forward_attached as forward_attached
from calib._gradients import forward_jacobian as forward_jacobian
from calib._gradients import score_function as score_function
from calib._pyro import FlowDist as FlowDist
from calib._pyro import flow_guide as flow_guide
from calib._pyro import log_likelihood as log_likelihood
from calib._pyro import run_particles as run_particles
from calib._pyro import space_from_pyro as space_from_pyro
from calib._space import Parameter as Parameter
from calib._space import ParameterSpace as ParameterSpace
