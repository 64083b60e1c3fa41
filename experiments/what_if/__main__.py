"""`python -m experiments.what_if`: the same as `posterity scenario`, the run given by --from."""

from posterity.commands import scenario
from posterity.commands.aliases import run_by_option
from posterity.commands.former_options import run

main = run_by_option(scenario.main)

if __name__ == "__main__":
    run(main)
