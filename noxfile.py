"""Sessions for contributors: `nox -l` lists them, `nox -s lint` runs one. `.ci/run` decides what lands."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
PYTHONS = ["3.11", "3.12", "3.13"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style."""
    session.install("ruff>=0.8")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types."""
    session.install("-e", ".[test]")
    session.run("mypy")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Tests; `nox -s tests-3.12 -- tests/calib` runs some."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs, env={"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"})


@nox.session
def coverage(session: nox.Session) -> None:
    """Lines that tests run."""
    session.install("-e", ".[test]", "pytest-cov>=5")
    packages = [f"--cov={name}" for name in ("calib", "sim", "ode", "epi", "posterity")]
    session.run("pytest", "-n", "0", *packages, "--cov-report=term", env={"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"})


@nox.session
def docs(session: nox.Session) -> None:
    """The site, with broken links as errors."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict")


@nox.session
def wheel(session: nox.Session) -> None:
    """A wheel, and the command from it outside the repository."""
    session.install("build>=1.2")
    target = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", target, ".")
    session.install("--find-links", target, "posterity")
    session.chdir(target)
    session.run("posterity", "--version")
    session.run("posterity", "new", "my_study")
    session.run("posterity", "validate", "my_study")
