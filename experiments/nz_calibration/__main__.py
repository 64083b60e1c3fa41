"""`python -m experiments.nz_calibration`: the same as `posterity calibrate nz_calibration`."""

import typer

from posterity.commands import calibrate
from posterity.commands.aliases import with_fixed

main = with_fixed(calibrate.main, study="nz_calibration")

if __name__ == "__main__":
    typer.run(main)
