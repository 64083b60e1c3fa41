"""Posteriors that are known: five tasks of sbibm, C2ST against budget."""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # a run is one thread; read once, when numpy and scipy are first imported
