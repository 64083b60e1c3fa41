"""`python -m experiments.nyc_first_wave`: the same as `posterity calibrate nyc_first_wave`."""

import typer

from posterity.commands import calibrate
from posterity.commands.aliases import with_fixed

main = with_fixed(calibrate.main, study="nyc_first_wave")

if __name__ == "__main__":
    typer.run(main)
