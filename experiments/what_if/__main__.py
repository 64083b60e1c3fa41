"""`python -m experiments.what_if`: the same as `posterity scenario`, the run given by --from."""

import typer

from posterity.commands.scenario import main

if __name__ == "__main__":
    typer.run(main)
