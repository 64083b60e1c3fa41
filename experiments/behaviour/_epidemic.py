"""One made-up epidemic in which people test as they say, and its calibration with a table of answers."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console

from calib import HUB_LEVELS, RunFolder, quantile_table, weighted_interval_score
from calib.multifidelity import draw, summary
from calib.numerics import derive_seed
from calib.storage import atomic_write_csv, atomic_write_json
from epi.data import load_data
from epi.inference import setup
from epi.inference.settings import make_config
from epi.model import Simulator, make_context, make_observation, observation_distribution, parameter_space
from epi.model.elicited import savage_dickey
from epi.population import build_population
from experiments.behaviour._study import KINDS, make, table_of
from posterity.template.study import study as known

TABLES = ("oracle", "shuffled", "reversed", "none")
SD = 1.0
"""Standard deviation of the answers, log odds."""
ENOUGH = 500
"""Fewest cases of the fitted weeks: an epidemic that fizzles out says nothing."""
ATTEMPTS = 60
SETTINGS: dict[str, Any] = {
    "scale": 0.1, "level_scale": 0.1, "slope_scale": 0.1, "particles": 8, "warm_start": 6, "warm_particles": 2, "level_runs": 12, "rounds": 0,
    "chain_draws": 10, "max_steps": 120, "max_seconds": 3600.0,
}  # fmt: skip
"""Sizes of a calibration: a small population and no rounds of refinement, so that many fit into an hour."""
DRAWS = 24
"""Posterior draws that are simulated to the end of the forecast."""


def make_epidemic(folder: Path, seed: int) -> None:
    """Write tables, answers and the truth of an epidemic: parameters from the prior, but for a strength of 1."""
    rng = np.random.default_rng(derive_seed(seed, 0, "answers"))
    answers = rng.normal(0.0, SD, len(KINDS))
    order = _derangement(rng, len(KINDS))
    tables = {
        "oracle": answers,
        "shuffled": answers[order],
        "reversed": 2 * answers.mean() - answers,
        "none": np.zeros(len(KINDS)),
    }
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for file in sorted(known.data.glob("*.csv")):
        shutil.copy(file, data / file.name)
    weeks = [str(w.date()) for w in known.calendar.weeks()]
    blank = [(w, a, 0) for w in weeks for a in known.ages.names]
    atomic_write_csv(data / "cases_age.csv", pd.DataFrame(blank, columns=["week_ending", "age_band", "cases"]))
    study = make(data, table_of(answers, "oracle"))
    for name, logit in tables.items():
        table_of(logit, name).save(folder / "tables" / name)
    theta, counts = _simulated(study, seed)
    for s in study.observed:
        places, key = s.places(study), "age_band" if s.by == "age" else s.by
        rows = [(w, p, int(counts[s.name][i, j])) for i, w in enumerate(weeks) for j, p in enumerate(places)]
        atomic_write_csv(data / f"{s.name}.csv", pd.DataFrame(rows, columns=["week_ending", key, s.column]))
    space = parameter_space(study)
    truth = dict(zip(space.names, space.flatten(theta)[0].tolist(), strict=True))
    atomic_write_json(
        folder / "truth.json", {"seed": seed, "answers": answers.tolist(), "order": order.tolist(), "parameters": truth}
    )


def _derangement(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """An order in which nothing stays in its place."""
    while True:
        order = rng.permutation(n)
        if not (order == np.arange(n)).any():
            return order


def _simulated(study: Any, seed: int) -> tuple[dict[str, torch.Tensor], dict[str, NDArray[np.float64]]]:
    """A draw of the prior with strength 1 whose epidemic takes off among all people, and its counts."""
    data, space, calendar = load_data(study), parameter_space(study), study.calendar
    population, _ = build_population(data, 1.0, seed)
    where = (torch.device("cpu"), torch.float64)
    context = make_context(data, population, calendar.days, *where)
    observation = make_observation(data, population, calendar.days, calendar.weeks(), *where)
    simulator = Simulator(population, context, observation, space)
    early = calendar.early(calendar.weeks())
    for attempt in range(ATTEMPTS):
        z = torch.randn(1, space.dim, generator=torch.Generator().manual_seed(derive_seed(seed, attempt, "truth")))
        theta = space.to_theta(z)
        theta["behaviour_strength"] = torch.ones(1)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            expected = simulator.bind(derive_seed(seed, attempt, "epidemic"))(theta)
            if float(expected["cases_county"][0, early].sum()) < ENOUGH:
                continue
            torch.manual_seed(derive_seed(seed, attempt, "counts") % 2**63)
            drawn = {
                s.name: observation_distribution(s, expected[s.name], theta).sample()[0].numpy() for s in study.observed
            }
        return theta, drawn
    raise ValueError(f"None of {ATTEMPTS} draws of the prior gave an epidemic of {ENOUGH} cases; choose another seed.")


def calibrate(folder: Path, table: str, seed: int) -> dict[str, Any]:
    """Calibrate an epidemic with a table; what is found of the strength, of all parameters, and the forecast's scores."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["parameters"]
    source = folder / f"study_{table}.py"
    source.write_text(
        '"""The made-up study with a table of answers."""\n\nfrom pathlib import Path\n\nfrom experiments.behaviour._study import make\n\n'
        f'study = make(Path(__file__).parent / "data", Path(__file__).parent / "tables" / "{table}")\n',
        encoding="utf-8",
    )
    console = Console(quiet=True)
    config = make_config(str(source), smoke=False, device="cpu", **SETTINGS, seed=seed)
    with tempfile.TemporaryDirectory() as place:
        run = RunFolder.create(Path(place) / "run", "made_up_behaviour", config.identity(), seed, "cpu")
        with run.running():
            built = setup.build(config, setup.read_data(config), run, console)
            result, inference = setup.calibrate(built, run, console, resume=False)
            assert inference.posterior is not None
            drawn = draw(inference.posterior, result.flow, built.settings, built.recorder(run, console))
            assert drawn.chains is not None
            r_hat = summary(drawn.chains)["r_hat"]
    generator = torch.Generator().manual_seed(seed)
    z = drawn.chains.draws(640, generator)[:, : built.space.dim]
    space = built.space
    names, draws = list(space.names), space.flatten(space.to_theta(z)).numpy()
    scores = _scores(built, z[:DRAWS], seed)
    low, high = np.quantile(draws, (0.05, 0.95), axis=0)
    target = {"oracle": 1.0, "shuffled": 0.0, "reversed": -1.0, "none": None}[table]
    at, skipped = names.index("behaviour_strength"), set()
    if table != "oracle":  # with other answers the deviations and the strength that are true are others
        skipped = {n for n in names if n.startswith("behaviour_")}
    known_names = [i for i, n in enumerate(names) if n in truth and n not in skipped and n != "behaviour_strength"]
    inside = [bool(low[i] <= truth[names[i]] <= high[i]) for i in known_names]
    x = draws[:, at]
    return {
        "seed": seed, "table": table, "strength": float(np.median(x)), "low": float(low[at]), "high": float(high[at]),
        "target": target, "target_inside": None if target is None else bool(low[at] <= target <= high[at]),
        "below_zero": bool(high[at] < 0), "above_zero": bool(low[at] > 0),
        "bayes_factor": savage_dickey(x, float(1 / np.sqrt(2 * np.pi))),
        "inside": int(sum(inside)), "of": len(inside), "r_hat": r_hat, "wis_log": scores,
    }  # fmt: skip


def _scores(built: setup.Study, z: torch.Tensor, seed: int) -> dict[str, float]:
    """Mean weighted interval score of log(1 + count) over the forecast weeks and places, by stream."""
    theta, declared = built.space.to_theta(z), built.declared
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        expected = built.full.bind(derive_seed(seed, 0, "forecast"), torch.arange(len(z)))(theta)
        torch.manual_seed(derive_seed(seed, 0, "observe") % 2**63)
        later = ~declared.calendar.early(built.full.observation.weeks)
        out = {}
        for s in declared.observed:
            counts = observation_distribution(s, expected[s.name], theta).sample((20,)).flatten(0, 1).numpy()[:, later]
            table, actual = quantile_table(counts), built.data.counts[s.name].numpy()[later]
            out[s.name] = float(np.mean(weighted_interval_score(np.log1p(table), np.log1p(actual), HUB_LEVELS).wis))
    return out
