"""The same model as it would have forecast from the week ending 11 December 2021: Omicron a few per cent of sequences."""

from datetime import date

from experiments.nyc_omicron.study import make_study

study = make_study("nyc_rehearsal_december", date(2021, 12, 11), date(2021, 12, 25), suffix="_december", known=())
