"""A simulator in numpy: agents in a town who catch an infection from those they meet. One run at a time, as most simulators are written."""

import numpy as np


def daily_reports(theta: dict[str, float], seed: int) -> np.ndarray:
    """Expected reports of each day, `[day]`.

    Args:
        theta: `contact`, the chance to infect one person met; `recovery`, the chance to recover in a day.
        seed: of the run.
    """
    random = np.random.default_rng(seed)
    state = np.zeros(1000, dtype=int)  # 0 susceptible, 1 infectious, 2 recovered
    state[:20] = 1
    days = []
    for _ in range(40):
        infectious = np.flatnonzero(state == 1)
        new = 0
        for _agent in infectious:
            met = random.integers(0, len(state), 4)
            caught = met[(state[met] == 0) & (random.random(4) < theta["contact"])]
            state[caught] = 1
            new += len(set(caught.tolist()))
        state[infectious[random.random(len(infectious)) < theta["recovery"]]] = 2
        days.append(0.5 * new + 0.1)
    return np.array(days)
