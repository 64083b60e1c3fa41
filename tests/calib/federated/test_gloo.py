"""Sites in processes of their own: the same sums, and a sentence when one dies."""

import subprocess
import sys
from pathlib import Path

import pytest

from calib.multifidelity import Recorder, warm_start
from tests.calib.federated.problems import SETTINGS, federated, pooled

ROOT = Path(__file__).parents[3]
COORDINATE = """
import subprocess, sys
import torch
from calib.federated import GlooTransport, SiteError, coordinator_store
from calib.multifidelity import Recorder, warm_start
from tests.calib.federated.problems import SETTINGS, federated, pooled

torch.set_num_threads(1)
store = coordinator_store(2)
start = [sys.executable, "-m", "tests.calib.federated.serve_site", "2"]
sites = [subprocess.Popen([*start, str(r), str(store.port), *(["60"] if r == 2 else [])]) for r in (1, 2)]
transport = GlooTransport(store, 2)
try:
    own = pooled(2)
    apart = federated(own, transport=transport)
    found = warm_start(apart, SETTINGS, Recorder())
    print(" ".join(repr(x) for x in found.z.tolist()))
    for _ in range(60):
        apart.observations.at_emulator(found.emulator(own.emulator_settings))(found.z[None])
except SiteError as error:
    print(error)
finally:
    transport.close()
    for p in sites:
        p.wait(30)
"""


@pytest.mark.slow  # three processes each read the packages anew
def test_processes_give_what_one_process_gives_until_one_dies():
    own = pooled(2)
    wanted = warm_start(federated(own), SETTINGS, Recorder()).z.tolist()
    done = subprocess.run(
        [sys.executable, "-c", COORDINATE], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    found, said = done.stdout.strip().splitlines()
    assert [float(x) for x in found.split()] == wanted
    assert said.startswith(
        "site place 1 left the run (its connection closed), and the run ends; what was saved is kept"
    )
