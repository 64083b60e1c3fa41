"""Draws of the posterior that stay where the model was run: where chains leave the runs of the rounds, runs follow them.

Beyond its runs a local mean is a guess that its second-order terms can make a good one by accident, and the error that it owns to there
makes the guess easier to believe. A chain that finds such a corner stays. A few runs in the corner take it away.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from rich.console import Console
from torch import Tensor

from calib import Flow
from calib._common_error import CommonError
from calib._hamiltonian import Chains
from calib._runfolder import RunFolder
from epi.inference.likelihood import Inference
from epi.inference.rounds import FILE, load_pool, report_emulator, save_pool, simulate_round
from epi.inference.sampler import centre_of, chains
from epi.inference.setup import Study, kept_warm_start, report_failed
from epi.inference.threads import several_threads

FEW = 0.002
"""Share of draws beyond the runs that is let pass: of 64 chains an eighth of one."""
FOLLOW = 0.6
"""Runs that follow the chains, over those of a round, and"""
TIMES = 3
"""how often they do at most."""


def draw(
    study: Study, inference: Inference, flow: Flow, run: RunFolder, console: Console
) -> tuple[Inference, CommonError, Chains]:
    """Draw from the posterior of the local mean; where draws lie beyond its runs, run the country there, learn, and draw again.

    Args:
        study: the problem.
        inference: with its local mean.
        flow: fitted to it; the chains run in its base noise.
        run: its folder; holds warm start and rounds.
        console: for progress.

    Returns:
        The likelihood that was drawn from, the errors that figures share in it, and the chains.
    """
    config, followed = study.config, _followed(study, run)
    while True:
        errors = inference.common_error(centre_of(flow, config.seed))

        def astray(drawn: Tensor, inference: Inference = inference) -> bool:
            return beyond(inference, drawn.flatten(0, 1)[:, : study.space.dim]) > FEW

        with run.phase("draws"):
            # the last chains are drawn to their end; of others no more than shows that they go astray
            leave = astray if followed < TIMES else None
            found = chains(inference, flow, errors, config.seed, console, config.chain_draws, leave)
        z = found.z.flatten(0, 1)[:, : study.space.dim]
        share = beyond(inference, z)
        run.update(beyond_runs={"share": share, "followed": followed})
        if share <= FEW:
            return inference, errors, found
        if followed >= TIMES:
            run.notice(
                f"{share:.1%} of the posterior's draws lie where the model was not run and its mean is guessed, also after {followed} rounds "
                "of runs there; intervals of the parameters that R-hat is largest for may be wrong. Give the study more runs a round."
            )
            return inference, errors, found
        inference, followed = _follow(study, inference, z, run, console), followed + 1


def _followed(study: Study, run: RunFolder) -> int:
    """How often runs have followed chains already: a killed run goes on from there."""
    file = run.path / FILE
    return load_pool(file, study.fingerprint()).rounds - study.config.rounds if file.exists() else 0


def beyond(inference: Inference, z: Tensor) -> float:
    """Share of draws `z [P, D]` at which the local mean is less sure than at a run that it was not taught; 0 of a straight one."""
    local = inference.fitted
    if local.bend is None:
        return 0.0
    unsure = local.bend.unsure
    return float((unsure(local.chart(z) - local.centre) > unsure.typical).double().mean())


def _follow(study: Study, inference: Inference, z: Tensor, run: RunFolder, console: Console) -> Inference:
    """The likelihood after runs where the mean is least known among draws `z [P, D]`."""
    file, problem = run.path / FILE, study.fingerprint()
    pool = load_pool(file, problem)
    number = pool.rounds
    with run.phase(f"round_{number + 1}"):
        at = inference.least_known(z, round(FOLLOW * study.config.round_runs))
        values = simulate_round(inference, at, number, run, console, problem, study.config.seed)
    good = torch.isfinite(values).all(1)
    report_failed(good, run, "runs where draws lie", fewest=2)
    pool = replace(
        pool, z=torch.cat([pool.z, at[good]]), values=torch.cat([pool.values, values[good]]), rounds=number + 1
    )
    save_pool(pool, file, problem)
    with run.phase(f"learn_{number + 1}"), several_threads():
        inference = replace(inference, local=pool.local(study, kept_warm_start(study, run)))
    report_emulator(inference, run)
    return inference
