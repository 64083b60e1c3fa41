"""The study with one week more in the fit, that of the survey among shoppers, so that the survey can be fitted as a stream.

    posterity calibrate experiments.nyc_first_wave.with_survey --streams admissions,deaths,ages
    posterity calibrate experiments.nyc_first_wave.with_survey

differ by the survey alone: the entropy of infections by borough in the first less that in the second is what the survey tells.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from experiments.nyc_first_wave.study import study as first

study = replace(
    first,
    name="nyc_first_wave_with_survey",
    title="New York City's first wave, with the survey among shoppers",
    calendar=replace(first.calendar, forecast_from=date(2020, 4, 25)),
    fit_to=(*first.fit_to, "serosurvey"),
)
