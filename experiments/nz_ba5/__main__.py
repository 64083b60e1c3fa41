"""`python -m experiments.nz_ba5`: the same as `posterity calibrate nz_ba5`."""

from posterity.commands import calibrate
from posterity.commands.aliases import with_fixed
from posterity.commands.former_options import run

main = with_fixed(calibrate.main, study="nz_ba5")

if __name__ == "__main__":
    run(main)
