"""`python -m experiments.nz_calibration.signals`: the former name of `python -m experiments.nz_calibration.streams`."""

import sys

from experiments.nz_calibration.streams import main
from posterity.commands.former_options import run

if __name__ == "__main__":
    print(
        "experiments.nz_calibration.signals is now called experiments.nz_calibration.streams; use that name.",
        file=sys.stderr,
    )
    run(main)
