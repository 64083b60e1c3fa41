"""The Flower app: the same answers, from client apps that are started anew for each message."""

import pytest
import torch

from calib.federated import Federation, InProcess
from calib.multifidelity import Recorder, warm_start
from tests.calib.federated.problems import SETTINGS, federated, pooled, sites_of


class Forgetful:
    """Sites started anew for each message, with what they keep."""

    def __init__(self, problem):
        self.problem, self.kept = problem, {}
        self.name = None

    def answer(self, number, message):
        site = sites_of(self.problem)[number]
        if number in self.kept:
            site.restore(self.kept[number])
        answer = site.answer(message)
        self.kept[number] = site.state()
        return answer


@pytest.mark.parametrize("sums", ["plain", "secure"])
def test_a_site_that_is_started_anew_for_each_request_gives_the_same(sums):
    if sums == "secure":
        pytest.importorskip("mpyc")
    own = pooled(2)
    forgetful, sites = Forgetful(own), sites_of(own)
    for number, site in enumerate(sites):
        site.answer = lambda message, number=number: forgetful.answer(number, message)
    found = warm_start(federated(own, sums, InProcess(sites)), SETTINGS, Recorder())
    assert torch.allclose(found.z, warm_start(own, SETTINGS, Recorder()).z, atol=1e-8)


def test_queries_of_client_apps_give_the_same_sums(monkeypatch):
    app = pytest.importorskip("flwr.app")
    from flwr.supercore.task_identity import TaskIdentity

    from calib.federated.flower import FlowerTransport, client_app

    own = pooled(2)

    class Grid:
        """A grid whose nodes are client apps in this process, by Flower's own messages and contexts."""

        def __init__(self):
            self.contexts = {7 + n: app.Context(1, 7 + n, {"site": n}, app.RecordDict(), {}) for n in range(2)}
            self.client, self.replies = client_app(lambda c: sites_of(own)[c.node_config["site"]]), {}

        def get_node_ids(self):
            return list(self.contexts)

        def push_messages(self, messages):
            ids = []
            for message in messages:
                number = f"m{len(self.replies)}"
                message.metadata._message_id = number
                reply = self.client(message, self.contexts[message.metadata.dst_node_id])
                self.replies[number] = reply
                ids.append(number)
            return ids

        def pull_messages(self, ids):
            return [self.replies[i] for i in ids]

    for name in ("_run_id", "_node_id", "_task_id"):  # as a server app has
        monkeypatch.setattr(TaskIdentity, name, 1)
    transport = FlowerTransport(Grid(), 2, 10.0)
    assert transport.sites == ("place 0", "place 1")
    Federation(transport, "places")
    found = warm_start(federated(own, transport=transport), SETTINGS, Recorder())
    assert torch.allclose(found.z, warm_start(own, SETTINGS, Recorder()).z, atol=1e-8)
