"""`python -m experiments.what_if.policy`: the same as `posterity allocate-restrictions`, the run given by --from."""

import typer

from posterity.commands.allocate_restrictions import main

if __name__ == "__main__":
    typer.run(main)
