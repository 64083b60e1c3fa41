"""`python -m experiments.rivals`: the former name of `python -m experiments.method_comparison`."""

import sys

from experiments.method_comparison.__main__ import main
from posterity.commands.former_options import run

if __name__ == "__main__":
    print("experiments.rivals is now called experiments.method_comparison; use that name.", file=sys.stderr)
    run(main)
