"""A site that leaves, is late, sends what is not finite, or answers for another study: one sentence, and nothing is lost."""

import time

import pytest
import torch

from calib.federated import Federation, InProcess, Site, SiteError
from calib.multifidelity import Recorder, load_warm_start, sample, warm_start
from tests.calib.federated.problems import SETTINGS, federated, pooled, sites_of


class Flaky(Site):
    """Answers until told otherwise."""

    broken = None

    def answer(self, message):
        if self.broken is not None:
            self.broken()
        return super().answer(message)


def flaky(problem):
    sites = sites_of(problem)
    last = sites[-1]
    sites[-1] = Flaky(last.name, last.observations, last.fingerprint)
    return sites


def one_sentence(text):
    return text.count(". ") == 0 and "\n" not in text


def test_a_site_that_leaves_ends_the_run_which_goes_on_when_it_is_back(tmp_path):
    own = pooled(3)
    sites = flaky(own)

    def leave():
        if sites[-1].asked.get("density", 0) > 15:
            raise ConnectionError("connection closed by peer")

    sites[-1].broken = leave
    with pytest.raises(SiteError, match="place 2 left the run") as caught:
        warm_start(federated(own, transport=InProcess(sites)), SETTINGS, Recorder(tmp_path, own.fingerprint))
    assert one_sentence(str(caught.value))
    assert caught.value.sites == ("place 2",)
    kept = load_warm_start(Recorder(tmp_path, own.fingerprint))
    assert 1 <= kept.iteration < SETTINGS.warm_steps
    repeated = warm_start(federated(own), SETTINGS, Recorder(tmp_path, own.fingerprint))
    assert torch.equal(repeated.z, warm_start(federated(own), SETTINGS, Recorder()).z)


def test_a_late_site_is_waited_for_and_told(tmp_path):
    own, said = pooled(2), []
    sites = flaky(own)
    sites[-1].broken = lambda: time.sleep(0.2)
    Federation(InProcess(sites), "places", seconds=0.05, patience=5.0, notice=said.append)
    assert len(said) == 1
    assert "place 1 did not answer within 0.05 s" in said[0]


def test_a_site_that_stays_away_ends_the_run():
    sites = flaky(pooled(2))
    sites[-1].broken = lambda: time.sleep(1.0)
    with pytest.raises(SiteError, match=r"place 1 did not answer within 0\.1 s") as caught:
        Federation(InProcess(sites), "places", seconds=0.05, patience=0.05)
    assert one_sentence(str(caught.value))


@pytest.mark.parametrize("sums", ["plain", "secure"])
def test_data_that_are_not_finite_end_the_run(sums):
    if sums == "secure":
        pytest.importorskip("mpyc")
    own, said = pooled(2), []
    sites = sites_of(own)
    sites[-1].observations.data[0] = torch.inf
    with pytest.raises(SiteError, match="not finite at any point") as caught:
        sample(federated(own, sums, InProcess(sites), notice=said.append), SETTINGS)
    assert one_sentence(str(caught.value))
    assert len(said) == 1
    assert ("place 1" in str(caught.value)) == (sums == "plain")


def test_a_site_of_another_study_is_refused():
    sites = sites_of(pooled(2))
    sites[0].fingerprint = "another"
    with pytest.raises(SiteError, match="place 0 answers for study another, and places was expected") as caught:
        Federation(InProcess(sites), "places")
    assert caught.value.sites == ("place 0",)
