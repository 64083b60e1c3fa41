"""A small noisy fit, alone or as the program of a torchrun; rank 0 writes what it found. Used by test_distributed.py."""

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
    """Three noisy outputs a particle; the noise depends on seed and stream alone."""
    out = []
    for row, stream in zip(rows, streams.tolist(), strict=True):
        own = torch.Generator().manual_seed((seed + stream) % 2**62)
        out.append(torch.tanh(row) * 2 + 0.1 * torch.randn(DIM, generator=own, dtype=torch.float64))
    return torch.stack(out)


def fitted(folder, simulator):
    """The fit, by a simulator that may be split over ranks; its numbers as plain data."""
    data = torch.tanh(TRUTH) * 2

    def log_likelihood(z, seed, gradient):
        del gradient
        return -8 * ((simulator(z, seed, torch.arange(len(z))) - data) ** 2).sum(-1)

    config = FitConfig(max_steps=40, stop=None, particles=5, checkpoint_seconds=1e6)
    problem = Problem(DIM, log_likelihood, fingerprint="split")
    found = fit(problem, make_flow("gaussian", DIM, seed=0), config, folder=folder, resume=True)
    weights = {name: p.tolist() for name, p in found.flow.named_parameters()}
    elbo = found.history["elbo"].tolist()
    return {"weights": weights, "errors": found.errors, "dropped": found.dropped, "elbo": elbo}


def raises(rows, seed, streams):
    """The same simulator, which fails where its first parameter is large."""
    if bool((rows[:, 0] > 0.9).any()):
        raise FloatingPointError("the solver failed")
    return simulate(rows, seed, streams)


def main(folder: Path, mode: str) -> None:
    torch.set_num_threads(1)
    team = Team.join()
    assert team is not None
    calls = []

    def dies(rows, seed, streams):
        calls.append(seed)
        if team.rank == 1 and len(calls) == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return simulate(rows, seed, streams)

    sd = team.split({"die": dies, "raise": raises, "fit": simulate}[mode])
    if team.rank:
        team.serve()
        return
    try:
        content = fitted(folder / "fit", sd)
    except Interrupted as error:
        (folder / "message.txt").write_text(str(error))
        print(error, file=sys.stderr)
        sys.exit(2)
    (folder / "found.json").write_text(json.dumps(content))
    team.release()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
