"""Synthetic populations from a region's tables, and how well they fit them."""

from epi.population.build import build_population as build_population
from epi.population.fit import PopulationFit as PopulationFit
from epi.population.fit import VenueFit as VenueFit
from epi.population.groups import GroupTable as GroupTable
from epi.population.members import Layer as Layer
from epi.population.members import Members as Members
from epi.population.members import VenueTable as VenueTable
from epi.population.schools import SchoolTable as SchoolTable
from epi.population.susceptible import susceptible_only as susceptible_only
from epi.population.synthesize import synthesize as synthesize
from epi.population.tables import PopulationTables as PopulationTables
from epi.population.tables import household_types_from_sizes as household_types_from_sizes
from epi.population.workplaces import WorkplaceTable as WorkplaceTable
from epi.population.workplaces import power_tail_sizes as power_tail_sizes
