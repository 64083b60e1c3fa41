"""`python -m experiments.what_if.doses`: the same as `posterity allocate-doses`, the run given by --from."""

import typer

from posterity.commands.allocate_doses import main

if __name__ == "__main__":
    typer.run(main)
