"""The same model as it would have forecast from the week ending 30 October 2021: Delta alone, on counts as published by 1 January 2022."""

from datetime import date

from experiments.nyc_omicron.study import make_study

study = make_study(
    "nyc_rehearsal_october", date(2021, 10, 30), date(2021, 12, 25), variant=False, suffix="_october", known=()
)
