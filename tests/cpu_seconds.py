"""`python -m pytest -p tests.cpu_seconds`: the tests and files that take most processor time, also that of processes they start and wait for.

Other work on the machine changes it much less than the time by the clock that `--durations` shows.
"""

import resource
from collections import Counter
from collections.abc import Generator

import pytest

SHOWN = 30
STARTED = pytest.StashKey[float]()


def spent() -> float:
    """Processor seconds of this process, and of those it started that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(x.ru_utime + x.ru_stime for x in used)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[STARTED] = spent()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    now = spent()
    report.cpu_seconds = now - item.stash.get(STARTED, now)
    item.stash[STARTED] = now
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for group in terminalreporter.stats.values() for r in group if hasattr(r, "cpu_seconds")]
    total = sum(r.cpu_seconds for r in reports)
    terminalreporter.section(f"processor time: {total:.0f} s in tests and fixtures")
    for r in sorted(reports, key=lambda r: -r.cpu_seconds)[:SHOWN]:
        terminalreporter.write_line(f"{r.cpu_seconds:8.2f}s {r.when:<8} {r.nodeid}")
    files: Counter[str] = Counter()
    for r in reports:
        files[r.nodeid.partition("::")[0]] += r.cpu_seconds
    terminalreporter.write_line("by file")
    for file, seconds in files.most_common(SHOWN):
        terminalreporter.write_line(f"{seconds:8.2f}s {file}")
