"""Exact expectations and derivatives of small epidemics, by methods that share nothing with the estimators."""

from experiments.gradient_audit.exact._answer import Answer as Answer
from experiments.gradient_audit.exact._enumeration import enumerate_courses as enumerate_courses
from experiments.gradient_audit.exact._plain import Infect as Infect
from experiments.gradient_audit.exact._plain import epidemic as epidemic
from experiments.gradient_audit.exact._reed_frost import reed_frost as reed_frost
