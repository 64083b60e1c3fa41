"""The wheel: it is complete, works outside the repository, and its description has no link that leads nowhere."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def call(*arguments, cwd, path=None):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    environment.pop("PYTHONPATH", None)
    environment |= {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what git keeps, so that no build folder is left in the repository."""
    pytest.importorskip("setuptools", minversion="77")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("needs a clone: the wheel is built from what git keeps")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("docs/", "tests/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    call("-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet", "-w", target, cwd=source)
    (made,) = target.glob("*.whl")
    return made


def test_it_works_outside_the_repository(wheel, tmp_path):
    place, user = tmp_path / "installed", tmp_path / "user"
    user.mkdir()
    call("-m", "pip", "install", wheel, "--no-deps", "--quiet", "--target", place, cwd=user)
    posterity = ("-P", "-m", "posterity")
    where = call("-P", "-c", "import epi, posterity; print(epi.__file__, posterity.__file__)", cwd=user, path=place)
    assert all(Path(file).is_relative_to(place) for file in where.split())
    assert re.fullmatch(r"\d+\.\d+\S*", call(*posterity, "--version", cwd=user, path=place).strip())
    call(*posterity, "new", "my_study", cwd=user, path=place)
    call(*posterity, "validate", "my_study", cwd=user, path=place)
    call(*posterity, "validate", "nz_calibration", cwd=user, path=place)  # the tables are in the wheel


def test_its_description_has_no_link_into_the_repository(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()
    assert "# posterity" in text
    assert not re.findall(r"\]\((?!https?://|#|mailto:)[^)]*\)", text)
