"""`python -m experiments.sensitivity`: the same as `posterity sensitivity`, the run given by --from."""

from posterity.commands import sensitivity
from posterity.commands.aliases import run_by_option
from posterity.commands.former_options import run

main = run_by_option(sensitivity.main)

if __name__ == "__main__":
    run(main)
