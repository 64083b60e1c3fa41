import hashlib

import matplotlib as mpl
import numpy as np
import pytest

from calib._plots import plot_elbo, plot_rank_path, plot_ranking, plot_scores, plot_shares_over_time, plot_tornado
from calib._posterior_plots import Panel, plot_fans, plot_forest, plot_pairs, plot_shrinkage
from calib._style import interval, number, save_figure


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def weeks():
    return [str(day) for day in np.arange("2022-02-06", "2022-03-20", 7, dtype="datetime64[D]")]


def texts(figure):
    """Every printed text of a figure, ticks included."""
    found = [t.get_text() for t in figure.texts]
    for axes in figure.axes:
        found += [t.get_text() for t in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()]]
        found += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
    return [text for text in found if text]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567, "1,234,567"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123"),
     (0.00391, "0.0039"), (4.2e-5, "4.2e-05"), (float("nan"), "–")],
)  # fmt: skip
def test_numbers_are_printed_with_three_digits(value, text):
    assert number(value) == text


def test_intervals_share_their_decimals():
    assert interval(0.1412, -0.698, 0.987) == "0.1 (−0.7 to 1.0)"
    assert interval(0.00393, 0.00361, 0.00425) == "0.00393 (0.00361 to 0.00425)"
    assert interval(1234.5, 1000, 1500) == "1,234 (1,000 to 1,500)"
    assert interval(2.0, 2.0, 2.0) == "2.00 (2.00 to 2.00)"
    assert interval(-0.001, -0.9, 0.9) == "0.0 (−0.9 to 0.9)"


def test_fans_show_data_bands_and_dates(rng, weeks):
    fitted = np.array([1, 1, 0, 1, 0, 0], dtype=bool)
    masked = np.array([0, 0, 1, 0, 0, 0], dtype=bool)
    observed = np.array([1.0, 2, 9, 4, 5, np.nan])
    panels = [Panel(name, rng.gamma(9, 1, size=(50, 6)), observed) for name in ("North", "South", "East")]
    figure = plot_fans(weeks, panels, fitted, masked, columns=2)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == ["North", "South", "East"]
    points = {tuple(line.get_ydata()) for line in shown[0].get_lines() if line.get_linestyle() == "None"}
    assert (1.0, 2.0, 4.0) in points
    assert (9.0,) in points
    labels = [t.get_text() for t in figure.legends[0].get_texts()]
    assert "reported, excluded" in labels
    assert "forecast starts" in labels


def test_a_wild_interval_does_not_flatten_the_data(weeks):
    draws = np.ones((100, 6))
    draws[:5] = 1e9
    figure = plot_fans(weeks, [Panel("x", draws, np.full(6, 2.0))], np.ones(6, bool), np.zeros(6, bool), 1)
    assert figure.axes[0].get_ylim()[1] < 10


def test_forest_prints_the_posterior_in_its_own_unit(rng):
    prior = [[5.0, 5.0], [10.0, 10.0], [15.0, 15.0]]
    posterior = rng.normal(10, 1, size=(4000, 2))
    figure = plot_forest(posterior, prior, ["rate", "share"], ["per day", ""])
    assert any(text.startswith("10.0 (8.") and text.endswith("per day") for text in texts(figure))


def test_pairs_print_correlations(rng):
    first = rng.normal(size=2000)
    draws = np.stack([first, -0.9 * first + 0.1 * rng.normal(size=2000), rng.normal(size=2000)], axis=1)
    figure = plot_pairs(draws, ["a", "b", "c"], rng.normal(size=(500, 3)))
    assert "−0.99" in texts(figure)


def test_rankings_and_swings_name_every_row(rng):
    names = [f"parameter {i}" for i in range(6)]
    value = np.sort(rng.random(6))[::-1]
    ranking = texts(plot_ranking(names, value, value - 0.01, value + 0.01, np.linspace(1, 0, 6)))
    tornado = texts(plot_tornado(names, 1e6 * value, 9e5 * value, 1.1e6 * value, -2e5 * value, "cases"))
    for name in names:
        assert name in ranking
        assert name in tornado
    assert "60 %" in ranking
    assert "change of the output, cases" in tornado


def test_other_plots(rng, weeks, tmp_path):
    history = -1000 - 500 * np.exp(-np.arange(200) / 20)
    noisy = history + rng.normal(size=200)
    noisy[3] = np.nan
    row = {"wis": 3.0, "baseline_wis": 5.0, "coverage_50": 0.4, "coverage_95": None}
    scores = {"cases": {"by_horizon": [{"horizon": h, **row} for h in (1, 2, 3)]}}
    plots = {
        "elbo": plot_elbo(np.arange(200), noisy, history, 180, "converged"),
        "scores": plot_scores(scores, {"cases": "Cases", "absent": "Absent"}),
        "shares": plot_shares_over_time(rng.dirichlet(np.ones(4), 6).T, list("abcd"), weeks, weeks[3]),
        "path": plot_rank_path([10, 20, 40], np.array([[1, 2], [2, 1], [1, 2]]), ["a", "b"]),
        "shrinkage": plot_shrinkage([("a", 0.5), ("b", rng.random(20)), ("c", -4.0)]),
    }
    for name, figure in plots.items():
        save_figure(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert any("stopped at step 180: converged" in text for text in texts(plots["elbo"]))
    assert not any("Absent" in text for text in texts(plots["scores"]))


def test_style_stays_inside_and_bytes_repeat(rng, tmp_path):
    before = dict(mpl.rcParams)
    digests = []
    for name in ("a", "b"):
        save_figure(plot_shrinkage([("a", 0.5)]), tmp_path / f"{name}.png")
        digests.append(hashlib.sha256((tmp_path / f"{name}.png").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    assert dict(mpl.rcParams) == before
