"""`python -m experiments.nz_ba5`: the same as `posterity calibrate nz_ba5`."""

import typer

from posterity.commands import calibrate
from posterity.commands.aliases import with_fixed

main = with_fixed(calibrate.main, study="nz_ba5")

if __name__ == "__main__":
    typer.run(main)
