"""Draws of the posterior where the simulator was run: where chains go beyond the runs of the rounds, more runs are made.

Beyond its runs an emulator extrapolates, and its predictive variance there makes the extrapolation easier to believe. A chain that finds
such a corner stays. A few runs in the corner correct it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calib._flows import Flow
from calib._hamiltonian import Chains
from calib.multifidelity._chains import centre_of, run_chains
from calib.multifidelity._design import FILE, Pool, load_pool, report_emulator, save_pool, simulate_round
from calib.multifidelity._posterior import EmulatorPosterior
from calib.multifidelity._recorder import Recorder
from calib.multifidelity._settings import Settings
from calib.multifidelity._shared_error import SharedError
from calib.multifidelity._start import load_warm_start
from calib.multifidelity._threads import several_threads
from calib.multifidelity._warm_start import WarmStart

MAX_EXTRAPOLATED = 0.002
"""Share of draws beyond the runs that is let pass: of 64 chains an eighth of one."""
REFINEMENT_RUNS = 0.6
"""Runs of a refinement over those of a round."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Chains and what they were drawn from.

    Attributes:
        posterior: by the emulator. errors: that the observations share. chains: `[draw, chain, D + K]`.
        extrapolated: share of the draws beyond all runs. refinements: rounds of runs made there, of which
        refinement_runs: runs of this call.
    """

    posterior: EmulatorPosterior
    errors: SharedError
    chains: Chains
    extrapolated: float
    refinements: int
    refinement_runs: int = 0


def draw(
    posterior: EmulatorPosterior,
    flow: Flow,
    settings: Settings,
    recorder: Recorder,
    state: tuple[WarmStart, Pool] | None = None,
) -> Drawn:
    """Draw from the emulator's posterior; where draws lie beyond its runs, run the simulator there, fit the emulator, and draw again.

    Args:
        posterior: by the emulator of the rounds.
        flow: fitted to it; the chains run in its base noise.
        settings: of the method.
        recorder: for progress.
        state: warm start and rounds; None to read those that the recorder saved when they are needed.
    """
    dim = posterior.problem.space.dim
    pool = state[1] if state else (load_pool(recorder) if recorder.has(FILE) else None)
    done, made = 0 if pool is None else pool.rounds - settings.rounds, 0
    while True:
        errors = posterior.shared_error(centre_of(flow, settings.seed))

        def diverged(drawn: Tensor, posterior: EmulatorPosterior = posterior) -> bool:
            return posterior.extrapolated(drawn.flatten(0, 1)[:, :dim]) > MAX_EXTRAPOLATED

        with recorder.phase("draws"):
            # the last chains are drawn to their end; of others no more than shows that they diverge
            should_stop = diverged if done < settings.refinements else None
            found = run_chains(posterior, flow, errors, settings.seed, recorder, settings.chain_draws, should_stop)
        z = found.z.flatten(0, 1)[:, :dim]
        share = posterior.extrapolated(z)
        recorder.update(beyond_runs={"share": share, "followed": done})
        if share <= MAX_EXTRAPOLATED or done >= settings.refinements:
            if share > MAX_EXTRAPOLATED:
                recorder.notice(
                    f"{share:.1%} of the posterior's draws lie where the model was not run and its mean is extrapolated, also after {done} "
                    "rounds of runs there; intervals of the parameters that R-hat is largest for may be wrong. Make more runs a round."
                )
            return Drawn(posterior, errors, found, share, done, made)
        if pool is None:
            pool = load_pool(recorder)
        warm = state[0] if state else load_warm_start(recorder)
        posterior, pool = refine(posterior, pool, warm, z, settings, recorder)
        done, made = done + 1, made + round(REFINEMENT_RUNS * settings.round_runs)


def refine(
    posterior: EmulatorPosterior, pool: Pool, warm: WarmStart, z: Tensor, settings: Settings, recorder: Recorder
) -> tuple[EmulatorPosterior, Pool]:
    """The posterior and the pool after runs where the mean is least known among draws `z [P, D]`."""
    number = pool.rounds
    with recorder.phase(f"round_{number + 1}"):
        at = posterior.least_known(z, round(REFINEMENT_RUNS * settings.round_runs))
        values = simulate_round(posterior.problem, at, number, settings, recorder)
    good = torch.isfinite(values).all(1)
    recorder.failed(good, "runs where draws lie", fewest=2)
    pool = replace(
        pool, z=torch.cat([pool.z, at[good]]), values=torch.cat([pool.values, values[good]]), rounds=number + 1
    )
    save_pool(pool, recorder)
    with recorder.phase(f"learn_{number + 1}"), several_threads(settings.threads):
        posterior = replace(posterior, emulator=pool.emulator(posterior.problem, warm))
    report_emulator(posterior, recorder)
    return posterior, pool
