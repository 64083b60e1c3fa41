"""`python -m experiments.what_if.doses`: the same as `posterity allocate-doses`, the run given by --from."""

from posterity.commands import allocate_doses
from posterity.commands.aliases import run_by_option
from posterity.commands.former_options import run

main = run_by_option(allocate_doses.main)

if __name__ == "__main__":
    run(main)
