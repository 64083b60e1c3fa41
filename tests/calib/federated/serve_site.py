"""`python -m tests.calib.federated.serve_site SITES RANK PORT [LEAVES]`: one site of the tests' problem as a process of its own."""

import os
import sys

import torch

from calib.federated import Site, serve
from tests.calib.federated.problems import pooled, sites_of


class Leaving(Site):
    """Dies after some answers."""

    left = 10**9

    def answer(self, message):
        self.left -= 1
        if self.left < 0:
            os._exit(1)
        return super().answer(message)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sites, rank, port = map(int, sys.argv[1:4])
    own = sites_of(pooled(sites))[rank - 1]
    site = Leaving(own.name, own.observations, own.fingerprint)
    if len(sys.argv) > 4:
        site.left = int(sys.argv[4])
    serve(site, rank, sites, port)
