"""Questions asked of the calibrated New Zealand model: counterfactuals and policies."""

from experiments.what_if._question import Question as Question
from experiments.what_if._question import Setting as Setting
