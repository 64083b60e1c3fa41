"""The study as a value: regions, calendar, parts, data streams and priors. Imports no torch."""

from epi.study.ages import AgeBands
from epi.study.composition import AgeComposition, SyndromicVisits
from epi.study.data_streams import (
    Admissions,
    Cases,
    Cohort,
    Deaths,
    Infections,
    Occupancy,
    Serosurvey,
    Stream,
    UserStream,
    Wastewater,
)
from epi.study.dates import Calendar
from epi.study.delays import Delay
from epi.study.disease import Immunity, NaturalHistory, WithinHost
from epi.study.elicited import ElicitedBehaviour
from epi.study.escaping_variant import EscapingVariant, RightTruncation, VariantOdds
from epi.study.families import BetaBinomial, LogNormalError, NegativeBinomial
from epi.study.importation import Importations, Seeding
from epi.study.load import load_study
from epi.study.measures import Measures
from epi.study.outcomes import Fatality, Reporting, ReportingRegime, Severity
from epi.study.parameter import Parameter
from epi.study.prior_infection import PriorInfection
from epi.study.priors import Beta, Gamma, HalfNormal, LogitNormal, LogNormal, Normal, Prior, Uniform
from epi.study.region import Region
from epi.study.study import Study
from epi.study.transmission import Intervention, PrevalenceResponse, RandomWalk, RegionEffects, SeasonalForcing, Variant
from epi.study.vaccination import Campaign, Vaccination
from epi.study.venues import Community, Households, Schools, Venue, Workplaces

__all__ = [
    "Admissions",
    "AgeBands",
    "AgeComposition",
    "Beta",
    "BetaBinomial",
    "Calendar",
    "Campaign",
    "Cases",
    "Cohort",
    "Community",
    "Deaths",
    "Delay",
    "ElicitedBehaviour",
    "EscapingVariant",
    "Fatality",
    "Gamma",
    "HalfNormal",
    "Households",
    "Immunity",
    "Importations",
    "Infections",
    "Intervention",
    "LogNormal",
    "LogNormalError",
    "LogitNormal",
    "Measures",
    "NaturalHistory",
    "NegativeBinomial",
    "Normal",
    "Occupancy",
    "Parameter",
    "PrevalenceResponse",
    "Prior",
    "PriorInfection",
    "RandomWalk",
    "Region",
    "RegionEffects",
    "Reporting",
    "ReportingRegime",
    "RightTruncation",
    "Schools",
    "SeasonalForcing",
    "Seeding",
    "Serosurvey",
    "Severity",
    "Stream",
    "Study",
    "SyndromicVisits",
    "Uniform",
    "UserStream",
    "Vaccination",
    "Variant",
    "VariantOdds",
    "Venue",
    "Wastewater",
    "WithinHost",
    "Workplaces",
    "load_study",
]
