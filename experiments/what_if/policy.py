"""`python -m experiments.what_if.policy`: the same as `posterity allocate-restrictions`, the run given by --from."""

from posterity.commands import allocate_restrictions
from posterity.commands.aliases import run_by_option
from posterity.commands.former_options import run

main = run_by_option(allocate_restrictions.main)

if __name__ == "__main__":
    run(main)
