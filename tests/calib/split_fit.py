"""A small noisy fit, run alone or by torchrun; rank 0 writes what it found. Used by test_distributed.py."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from calib import FitConfig, Interrupted, Problem, Team, fit, make_flow

DIM = 3
TRUTH = torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)


def simulate(rows, seed, streams):
    """Three noisy outputs a particle; the noise hangs on seed and stream alone."""
    out = []
    for row, stream in zip(rows, streams.tolist(), strict=True):
        own = torch.Generator().manual_seed((seed + stream) % 2**62)
        out.append(torch.tanh(row) * 2 + 0.1 * torch.randn(DIM, generator=own, dtype=torch.float64))
    return torch.stack(out)


def main(folder: Path, mode: str) -> None:
    torch.set_num_threads(1)
    team = Team.join()
    rank = 0 if team is None else team.rank
    calls = []

    def watched(rows, seed, streams):
        calls.append(seed)
        if mode == "die" and rank == 1 and len(calls) == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "raise" and bool((rows[:, 0] > 0.9).any()):
            raise FloatingPointError("the solver failed")
        return simulate(rows, seed, streams)

    spread = watched if team is None else team.split(watched)
    if team is not None and team.rank:
        team.serve()
        return
    data = torch.tanh(TRUTH) * 2

    def log_likelihood(z, seed, gradient):
        del gradient
        return -8 * ((spread(z, seed, torch.arange(len(z))) - data) ** 2).sum(-1)

    config = FitConfig(max_steps=40, stop=None, particles=5, checkpoint_seconds=1e6)
    try:
        problem = Problem(DIM, log_likelihood, fingerprint="split")
        found = fit(problem, make_flow("gaussian", DIM, seed=0), config, folder=folder / "fit", resume=True)
    except Interrupted as error:
        (folder / "message.txt").write_text(str(error))
        print(error, file=sys.stderr)
        sys.exit(2)
    weights = {name: p.tolist() for name, p in found.flow.named_parameters()}
    content = {
        "weights": weights,
        "errors": found.errors,
        "dropped": found.dropped,
        "elbo": found.history["elbo"].tolist(),
    }
    (folder / "found.json").write_text(json.dumps(content))
    if team is not None:
        team.release()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
