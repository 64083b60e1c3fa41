"""`python -m experiments.nz_calibration`: the same as `posterity calibrate nz_calibration`."""

import typer

from posterity.commands.calibrate import command_of

main = command_of("nz_calibration")

if __name__ == "__main__":
    typer.run(main)
