"""Questions asked of the calibrated New Zealand model: counterfactuals and policies."""

from epi.scenarios.scenario import Question as Question
from epi.scenarios.scenario import Setting as Setting
