"""`python -m experiments.nz_ba5`: the same as `posterity calibrate nz_ba5`."""

import typer

from posterity.commands.calibrate import command_of

main = command_of("nz_ba5")

if __name__ == "__main__":
    typer.run(main)
