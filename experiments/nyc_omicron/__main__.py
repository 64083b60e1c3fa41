"""`python -m experiments.nyc_omicron`: the same as `posterity calibrate nyc_omicron`."""

import typer

from posterity.commands import calibrate
from posterity.commands.aliases import with_fixed

main = with_fixed(calibrate.main, study="nyc_omicron")

if __name__ == "__main__":
    typer.run(main)
