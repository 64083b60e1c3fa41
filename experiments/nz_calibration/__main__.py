"""`python -m experiments.nz_calibration`: the same as `posterity calibrate nz_calibration`."""

from posterity.commands import calibrate
from posterity.commands.aliases import with_fixed
from posterity.commands.former_options import run

main = with_fixed(calibrate.main, study="nz_calibration")

if __name__ == "__main__":
    run(main)
