"""The field's words: what is not said anywhere, what names nothing in code, and what is better said otherwise (printed alone)."""

import ast
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOWHERE = {
    r"taught": "informed by, information from",
    r"ghosts?": "paired replicas",
    r"rivals?": "method comparison, competitor",
    r"hang(?:s|ing)? on": "depend on",
    r"dearest": "reference, most expensive",
    r"gone on with": "resumed",
    r"figures(?!/|\"|')": "data, observations; of plots: plots",
    r"(?<!power )laws?": "likelihood, observation distribution",
    r"strays?|strayed|astray": "residual, deviates",
    r"learn_bend": "fit_quadratic",
}
"""Never anywhere: pattern of whole words, and what to say."""
NO_NAMES = {
    "figures": "data, plots", "law": "family, distribution", "bend": "quadratic, hessian", "unsure": "predictive variance",
    "chart": "coordinates, feature map", "pace": "thread tuner", "settle": "refine, converge", "seen": "in the likelihood, observed",
    "words": "sentences", "spread": "sd, distribute", "again": "second, repeated, reinfection", "beside": "compared with",
}  # fmt: skip
"""Never (a part of) an identifier; tests' own names, which are sentences, are free."""
ADVICE = {
    "signal": "data stream", "luck": "common random numbers", "settled": "converged", "ghost": "paired replica", "told": "diagnostics, result",
    "stray": "residual", "dear": "expensive", "beside": "compared with", "local mean": "log-linear emulator", "aversion": "prevalence response",
    "forgetting": "memory decay", "zero-shot": "local sensitivity", "every input": "all-rate elasticities", "drift": "transmission random walk",
}  # fmt: skip
"""Better said otherwise: counted and printed, nothing fails."""
ALIASES = {
    "calib/_former_names.py", "epi/outputs/former_names.py", "posterity/commands/former_options.py",
    "experiments/rivals/__init__.py", "experiments/rivals/__main__.py", "experiments/nz_calibration/signals.py",
    "CHANGELOG.md", "docs/migration.md", "tests/test_terms.py", "tests/test_former_names.py",
}  # fmt: skip
FOLDERS = (
    "behaviour",
    "calib",
    "epi",
    "experiments",
    "ode",
    "posterity",
    "sim",
    "tests",
    "scripts",
    "examples",
    "docs",
)
SUFFIXES = (".py", ".md", ".j2", ".toml")


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Name and text of every file that people read."""
    files = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*")) if p.suffix in SUFFIXES]
    files += [p for p in sorted(ROOT.glob("*")) if p.suffix in SUFFIXES]
    named = ((path.relative_to(ROOT).as_posix(), path) for path in files)
    return tuple((n, p.read_text(encoding="utf-8")) for n, p in named if n not in ALIASES and "/data/" not in n)


def said(text: str, pattern: str) -> Iterator[tuple[int, str]]:
    """Lines with a whole word, parts of snake_case names included."""
    word = re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", re.IGNORECASE)
    if not word.search(text):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if word.search(line):
            yield number, line.strip()[:120]


def identifiers(text: str) -> Iterator[tuple[int, str]]:
    """Names that the code gives or uses."""
    for node in ast.walk(ast.parse(text)):
        for field in ("id", "attr", "name", "arg", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield getattr(node, "lineno", 0), name
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def parts(name: str) -> set[str]:
    """Words of a name: `snake_case`, `CamelCase` and a trailing capital of kernels."""
    return {w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


@pytest.mark.parametrize("pattern", NOWHERE)
def test_words_that_are_not_said(pattern):
    found = [f"{name}:{n}: {line}" for name, text in texts() for n, line in said(text, pattern)]
    assert not found, f"say: {NOWHERE[pattern]}\n" + "\n".join(found)


def test_words_that_name_nothing():
    found = []
    for name, text in texts():
        if name.endswith(".py"):
            here = [w for part in Path(name).with_suffix("").parts for w in parts(part) & set(NO_NAMES)]
            found += [f"{name}: the file's name says {w}; say {NO_NAMES[w]}" for w in here]
            for line, given in identifiers(text):
                if not given.startswith("test_"):
                    found += [f"{name}:{line}: {given}; say {NO_NAMES[w]}" for w in parts(given) & set(NO_NAMES)]
    assert not found, "\n".join(found)


def test_advice():
    counts = {word: sum(len(list(said(text, word))) for _, text in texts()) for word in ADVICE}
    shown = ", ".join(f"{word} {n} ({ADVICE[word]})" for word, n in counts.items() if n)
    if shown:
        warnings.warn(f"better said otherwise: {shown}", stacklevel=1)


@pytest.mark.parametrize(
    ("text", "pattern"), [("how the fit hangs on it", r"hang(?:s|ing)? on"), ("x = seen_rivals", r"rivals?")]
)
def test_what_is_wrong_is_found(text, pattern):
    assert list(said(text, pattern))
    assert not list(said("lawn, arrivals, straight, a power law", r"(?<!power )laws?|rivals?|strays?"))


def test_parts_of_names():
    assert parts("againG") >= {"again"}
    assert parts("DataStreamSeen") == {"data", "stream", "seen"}
    assert parts("_AGAIN_x") == {"again", "x"}
