"""`python -m experiments.nyc_first_wave`: the same as `posterity calibrate nyc_first_wave`."""

from posterity.commands import calibrate
from posterity.commands.aliases import with_fixed
from posterity.commands.usage import run as run_module

main = with_fixed(calibrate.main, study="nyc_first_wave")

if __name__ == "__main__":
    run_module(main)
