"""A node is who its registered key says: a claim gets no place, and delays nobody."""

from functools import cache
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import GetNodesResponse
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from ilora_app import client_app
from ilora_app.federation import identity
from ilora_app.federation.member import Member, most_say
from ilora_app.federation.waiting import FederationError
from ilora_app.report.reading import RunData, read
from ilora_app.report.records import failures
from ilora_app.server import enrolment, preflight
from tests.conftest import read_events
from tests.interruptions import PowerCutError, start
from tests.local_run import FaultyGrid, metrics


@cache
def key(owner: str) -> bytes:
    return public_key_to_bytes(ec.generate_private_key(ec.SECP384R1()).public_key())


class Registered(FaultyGrid):
    """Nodes with keys, as Flower's SuperLink names them: ``owners`` by node id."""

    def __init__(self, run_config, owners: dict[int, str], claims: dict[str, int]):
        super().__init__(client_app.app, run_config, len(owners))
        self.state = run_config["output-dir"] + "-nodes"
        contexts = list(self._contexts.values())
        self._contexts, self.owners, self.claims = {}, {}, claims
        for context, (node, owner) in zip(contexts, owners.items(), strict=True):
            self.add(node, owner, context)

    def add(self, node: int, owner: str, context) -> None:
        context.node_id, self.owners[node] = node, owner
        context.node_config = {
            "partition-id": self.claims[owner],
            "num-partitions": 3,
            "state-path": f"{self.state}/{owner}",
        }
        self._contexts[node] = context

    def get_nodes(self):
        owners = {node: self.owners[node] for node in self.get_node_ids()}
        return [NodeInfo(node_id=n, public_key=key(o)) for n, o in owners.items()]


CLAIMS = {"liar": 1, "honest": 1, "third": 2, "stranger": 1}
START = {1: "liar", 2: "honest", 3: "third"}


class Restarting(Registered):
    """After round 2 the honest node is away, and a stranger claims its partition.

    A round later it is back, as registered anew: another node id, and the same key.
    """

    fails = False

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        replies = super().send_and_receive(messages, timeout=timeout)
        kind = messages[0].metadata.message_type
        number = messages[0].content["config"].get("server-round")
        if (kind, number) == ("evaluate", 2):
            gone = self._contexts.pop(2)
            fresh = Registered(gone.run_config, START, CLAIMS)._contexts
            self.add(10, "stranger", fresh[1])
            self.back = fresh[2]
        if (kind, number) == ("evaluate", 3):
            self.add(998, "honest", self.back)
        if self.fails and (kind, number) == ("train", 4):
            raise PowerCutError
        return replies


@pytest.mark.parametrize("known_by", ["key", "partition"])
def test_a_claim_gets_no_place_and_delays_nobody(run_config, caplog, known_by):
    run_config |= {"identity": known_by, "num-server-rounds": 4, "test-examples": 40}
    run_config |= {"round-timeout": 1.0}
    grid = Restarting(run_config, START, CLAIMS)
    server = start(run_config, grid)
    folder = server.folder.path
    clients = list(metrics(folder)["clients"].iloc[1:])
    twice = [e for e in read_events(folder, "claimed-twice") if e["partition"] == 1]
    assert twice[0]["nodes"] == [1, 2]
    assert all(name in twice[0]["reason"] for name in ("node 1", "node 2"))
    assert all(event["reason"] in caplog.text for event in twice)
    assert all(event["reason"] in failures(read(folder)) for event in twice)
    if known_by == "partition":  # nothing tells them apart, and the first one has it
        assert clients == [2, 2, 2, 2]
        return
    assert clients == [3, 3, 3, 4]
    found = {m.node_id: m for m in server.membership.members}
    assert sorted(found) == [1, 3, 10, 998]
    assert (found[998].home, found[10].home) == (998, 10)
    # It has its place again, and what it keeps; the stranger has none of it.
    known = {e["node_id"]: e["identity"] for e in read_events(folder, "member")}
    assert known[998] == known[2] != known[10]
    names = [client.name for client in RunData.clients(read(folder))]
    assert len(names) == len(set(names)) == 4


@pytest.mark.slow
def test_a_run_that_goes_on_knows_its_nodes_by_their_keys(run_config):
    """Nodes meet the server in another order, under other ids; one lies about all."""
    run_config |= {"identity": "key", "num-server-rounds": 4, "test-examples": 40}
    cut = Restarting(run_config, START, CLAIMS)
    cut.fails = True
    with pytest.raises(PowerCutError):
        start(run_config, cut)
    names = ("liar", "third", "stranger", "honest")
    owners = {100 - i: name for i, name in enumerate(names)}
    again = Registered(run_config | {"resume": "latest"}, owners, CLAIMS)

    def lie(reply):
        first = reply.metadata.message_type == "query"
        if first and reply.metadata.src_node_id == 100:
            reply.content["config"]["num-partitions"] = 1_000_000
        return reply

    again.tamper = lie
    server = start(run_config | {"resume": "latest"}, again)
    met = read_events(server.folder.path, "member")
    before = {e["identity"] for e in met if e["node_id"] in (1, 3, 10, 998)}
    assert {m.identity for m in server.membership.members} == before
    assert [m.node_id > 0 for m in server.membership.members] == [True] * 4
    assert metrics(server.folder.path)["clients"].iloc[-1] == 4


def test_what_auto_is_and_what_cannot_be(run_config):
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    grid = HttpGrid(token="none")
    nodes = [NodeInfo(node_id=7, public_key=key("a")), NodeInfo(node_id=8)]
    answer = GetNodesResponse(nodes=nodes)
    grid._client = SimpleNamespace(GetNodes=lambda _: answer)  # type: ignore[assignment]
    found = identity.keys(grid, "auto")
    name = identity.name(found[7] or b"")
    assert name.startswith(identity.KEY)
    assert identity.name(found[8] or b"") == ""
    assert identity.keys(grid, "partition") == {7: None, 8: None}
    assert identity.claimed(name) == "", "nobody calls itself by a key"
    local = FaultyGrid(client_app.app, run_config, 2)
    assert identity.keys(local, "auto") == {1: None, 2: None}
    prepared = preflight.prepare(run_config | {"identity": "key"})
    with pytest.raises(FederationError, match="identity = 'key': expected partition"):
        enrolment.meet(local, prepared)
    parts = [Member(node, 4, 9, partitions=n) for node, n in enumerate((9, 3, 3, None))]
    assert (most_say(parts), most_say(parts[:2]), most_say([])) == (3, 3, 0)
