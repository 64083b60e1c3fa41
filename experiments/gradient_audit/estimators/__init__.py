"""Estimators of the gradient, each as one function from a world to gradients of single runs."""

from experiments.gradient_audit.estimators._categorical import draw_index as draw_index
from experiments.gradient_audit.estimators._registry import ESTIMATORS as ESTIMATORS
from experiments.gradient_audit.estimators._registry import Estimator as Estimator
from experiments.gradient_audit.estimators._registry import Sample as Sample
from experiments.gradient_audit.estimators._registry import outcomes as outcomes
from experiments.gradient_audit.estimators._registry import sample as sample
from experiments.gradient_audit.estimators._registry import zeros as zeros
