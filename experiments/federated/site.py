"""`python -m experiments.federated.site`: one site as a process of its own, which reads its own table and answers the coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from calib.federated import Site, serve
from experiments.federated._holders import read
from posterity.commands.usage import run as run_module


def main(
    study: Annotated[str, typer.Option(help="The public study.")],
    folder: Annotated[Path, typer.Option(help="Folder with the site's own table.")],
    rank: Annotated[int, typer.Option(help="Number of the site, from 1.")],
    sites: Annotated[int, typer.Option(help="How many there are.")],
    port: Annotated[int, typer.Option(help="Of the coordinator, on this host.")],
) -> None:
    """Answer until the coordinator lets this site go, or is gone."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    name, own, public = read(study, folder)
    serve(Site(name, own, public), rank, sites, port)


if __name__ == "__main__":
    run_module(main)
