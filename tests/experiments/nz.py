"""New Zealand's facts as the tests of the study read them."""

from datetime import date
from types import SimpleNamespace

from epi.data import load_data
from experiments.nz_calibration import study as _facts
from experiments.nz_calibration.study import study

SOURCE = "experiments.nz_calibration.study"
DISTRICTS, AGE_BANDS, AREAS = study.region.names, study.ages.names, _facts.AREAS
OPTIONS, DEFAULT = study.options, study.default_options
PLACES = {s.name: s.places(study) for s in study.streams}
STREAMS = {s.name: s for s in study.observed}
CALENDAR = study.calendar
START, OPEN = CALENDAR.start, CALENDAR.opened
FORECAST_DATE, LAST_WEEK, FIRST_WEEK = CALENDAR.forecast_from, CALENDAR.last_week, CALENDAR.first_week
(MASKED_WEEK,) = CALENDAR.masked_weeks
RAPID_TESTS, OCCUPANCY_FROM = date(2022, 2, 25), date(2022, 3, 11)
WALK = study.transmission_walk


def tables(folder=None):
    """The checked tables."""
    return load_data(study, folder)


def stream(name):
    """A stream, with the names of its dispersions."""
    s = STREAMS[name]
    return SimpleNamespace(
        declared=s, places=PLACES[name], dispersion=study.dispersion(name), counts=s.counts, clustered=s.clustered
    )
