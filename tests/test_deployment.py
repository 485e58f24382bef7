"""The app over real processes with TLS and authenticated nodes, and what it survives.

One federation serves all tests: starting it takes longer than a round.
"""

import json
import os
import re
import signal
import time
from pathlib import Path

import pandas
import pytest
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from ilora_app.deploy import keys
from ilora_app.runs import processes
from tests.deployment import CONNECTION, Run, deployment
from tests.hospitals import Federation, deal_out, held, took_part
from tests.local_run import metrics
from tests.own_processes import wait
from tests.test_payloads import agreeing

pytestmark = pytest.mark.slow

LIARS = Path(__file__).parent / "liar"
# What the server says of the answers that tests/liar gives, round by round.
REASONS = (
    "holds NaN or infinity",
    r"is float32 \(\d+,\), expected float32 \(",
    r"is float32 \(\d+, 3\), expected float32 \(\d+, 4\)",
    "its update has norm .*, max-update-norm is 50",
    "num-examples is 1000000000.0, expected at most",
    "10000 unknown",
    "a header of [0-9]+ bytes, expected",
    "does not hold what its header says",
)


@pytest.fixture(scope="module")
def federation(tmp_path_factory, tiny_model, small_data):
    folder = tmp_path_factory.mktemp("federation")
    data = folder / "data"
    deal_out(Path(small_data) / "train.jsonl", data)
    config = {"model": tiny_model, "dataset": small_data, "local-steps": 3}
    config |= {"min-available-nodes": 3}
    with deployment(folder, nodes=5) as real:
        federation = Federation(real, config, data)
        federation.start(1, 2, 3)
        real.wait_online(3)
        yield federation


def assert_same_numbers(run: Run, normal: Run) -> None:
    """As if nothing had happened, to the last bit."""
    right, found = (
        metrics(one.folder)[["accuracy", "loss", "train_loss", "drift"]]
        for one in (normal, run)
    )
    pandas.testing.assert_frame_equal(found, right, check_exact=True)


@pytest.fixture(scope="module")
def normal(federation) -> Run:
    """A run in which nothing happens."""
    run = federation.run("normal", 2, **{"fraction-evaluate": 1.0})
    assert run.wait() == "finished:completed", run.context()
    # What others wait for an answer: enough for this machine, and little more.
    seconds = metrics(run.folder, times=True)["seconds_train"]
    federation.patience = max(20.0, 2 * seconds.max())
    return run


def test_three_nodes_of_unequal_rank_run_to_the_end(normal, tiny_model):
    run = normal
    assert held(run) == {90: 4, 110: 8, 70: 16}
    assert took_part(run) == [(3, 3), (3, 3)]
    table = metrics(run.folder, times=True)
    assert table["client_accuracy_mean"][1:].notna().all()
    assert table["bytes_up"][1:].gt(0).all()
    named = json.loads((run.folder / "adapter" / "config.json").read_text())
    base = AutoModelForSequenceClassification.from_pretrained(
        tiny_model, num_labels=len(named["id2label"])
    )
    for rank in (4, 8, 16):
        PeftModel.from_pretrained(base, run.folder / f"adapter-r{rank}")


def test_server_and_nodes_have_the_same_hashes(federation, normal):
    """Over TLS: each node's own log beside what the server says it sent and got."""
    assert agreeing(normal.folder, federation.real.folder) == [5, 5, 5]


def test_strangers_are_refused(federation, tmp_path):
    """A key nobody registered, a root certificate of another CA, and no TLS."""
    real = federation.real
    keys.make(keys.Request(tmp_path / "other", ("fl.example.org",), 1))
    config, key = federation.own(4), real.keys / "node-4"
    unregistered = real.start_node(91, config, key=tmp_path / "other" / "node-1")
    other_ca = real.start_node(92, config, key=key, ca=tmp_path / "other" / "ca.crt")
    plain = real.start_node(93, config, secure=False)
    for node, message in (
        (unregistered, "[code: 2004] Failed to activate SuperNode."),
        (other_ca, "CERTIFICATE_VERIFY_FAILED"),
    ):
        wait(lambda node=node: not node.running, 60, "a refusal", lambda: "")
        assert node.process.returncode == 1
        assert message in node.log
    wait(lambda: "Connection attempt failed" in plain.log, 60, "a try", lambda: "")
    found = real.flwr_json("supernode", "list", "test", "--format", "json")["nodes"]
    assert (
        sorted(node["status"] for node in found) == ["online"] * 3 + ["registered"] * 2
    )
    assert "SuperNode ID" not in unregistered.log + other_ca.log + plain.log
    for node in (unregistered, other_ca, plain):
        node.end()


@pytest.mark.long
def test_a_node_that_lies_is_left_out_round_after_round(federation):
    """A node's own program is its own: this one answers with what no client would."""
    real = federation.real
    liar = real.start_node(5, federation.own(5), PYTHONPATH=str(LIARS))
    real.wait_online(4)
    limits = {"min-available-nodes": 4, "max-update-norm": 50.0, "save-adapters": False}
    run = federation.run("lies", len(REASONS), **limits)
    assert run.wait() == "finished:completed", run.context()
    left_out = run.events("reply-left-out")
    assert [event["round"] for event in left_out] == list(range(1, len(REASONS) + 1))
    for event, reason in zip(left_out, REASONS, strict=True):
        assert re.search(reason, event["reason"])
    assert took_part(run) == [(3, 4)] * len(REASONS)
    assert metrics(run.folder)["loss"].notna().all()
    liar.stop()
    real.wait_online(3)


@pytest.mark.long
def test_a_registered_node_that_claims_anothers_partition(federation, small_data):
    """It gets no place and delays nobody, and its key says who it is in every run."""
    real = federation.real
    claim = {"partition-id": 1, "num-partitions": 5, "lora-rank": 4}
    pair = [real.start_node(number, claim) for number in (4, 5)]
    real.wait_online(5)
    known = []
    for name, resume in (("claims", {}), ("claims", {"resume": "latest"})):
        rounds = 2 if resume else 1
        more = {"min-available-nodes": 5, "save-adapters": False, **resume}
        run = federation.run(name, rounds, **more)
        assert run.wait() == "finished:completed", run.context()
        assert took_part(run) == [(5, 5)] * rounds
        known.append({e["node_id"]: e["identity"] for e in run.events("member")})
        twice = run.events("claimed-twice")[-1]
        both = [e for e in run.events("member") if e["partition"] == 1]
        assert sorted(twice["nodes"]) == sorted({e["node_id"] for e in both})
        assert "both count, each by its own key" in twice["reason"]
    assert known[0] == known[1]
    assert all(identity.startswith("key-") for identity in known[0].values())
    assert len(set(known[0].values())) == 5
    for node in pair:
        node.stop()
    real.wait_online(3)


@pytest.mark.long
def test_the_superlink_may_be_stopped_and_started_between_rounds(federation, normal):
    run = federation.run("restart", 2)
    run.wait_for_round(1)
    superlink = federation.real.started[0]
    superlink.stop()
    assert run.rounds == 1, "the round ended before the SuperLink was away"
    time.sleep(2)
    federation.real.start_superlink()
    assert run.wait() == "finished:completed", run.context()
    assert took_part(run) == [(3, 3), (3, 3)]
    assert_same_numbers(run, normal)


@pytest.mark.long
def test_a_killed_serverapp_is_resumed(federation, normal):
    run = federation.run("killed", 2)
    run.wait_for_round(1)
    executor = federation.real.started[1].process.pid
    [serverapp] = [
        pid
        for pid in processes.descendants(executor)
        if "flwr-serverapp" in processes.command(pid)
    ]
    os.kill(serverapp, signal.SIGKILL)
    federation.real.flwr("stop", run.id, CONNECTION)
    assert run.rounds == 1
    again = federation.run("killed", 2, resume="latest")
    assert again.wait() == "finished:completed", again.context()
    assert took_part(again) == [(3, 3), (3, 3)]
    assert_same_numbers(again, normal)


@pytest.mark.long
@pytest.mark.usefixtures("normal")
def test_nodes_may_be_slow_die_come_back_and_join(federation):
    """One run of seven rounds, in which everything happens that can.

    On a busy machine others may miss a deadline too, so this looks for a full round.
    """
    trained = {number: federation.trainings(number) for number in (1, 2, 3)}
    run = federation.run("faults", 7, **{"round-timeout": federation.patience})

    # Round 1: one node takes too long, one dies.
    federation.wait_until_it_trains(1, trained[1], run)
    slow = federation.nodes[1].process.pid
    tree = [slow, *processes.descendants(slow)]
    signal_all(tree, signal.SIGSTOP)
    federation.wait_until_it_trains(2, trained[2], run)
    federation.nodes[2].kill()
    run.wait_for_round(1)
    assert took_part(run)[0] in [(1, 3), (0, 3)], run.context()

    # Round 2 and on: the late answer comes, a new node, and the dead one again.
    signal_all(tree, signal.SIGCONT)
    federation.start(4)
    federation.nodes[2] = federation.real.revive(2, federation.own(2))
    wait(lambda: took_part(run)[-1] == (4, 4), 600, "a full round", run.context)

    # The next round: one dies and stays away.
    full = run.rounds
    assert 2 <= full < 7
    federation.wait_until_it_trains(3, federation.trainings(3), run)
    federation.nodes[3].kill()
    assert run.wait() == "finished:completed", run.context()
    after = took_part(run)[full:]
    assert after[0] in [(3, 4), (2, 4)], run.context()
    assert max(clients for clients, _ in after) <= 3
    assert held(run) == {90: 4, 110: 8, 70: 16, 100: 8}
    assert metrics(run.folder)["loss"].notna().all()
    assert (run.folder / "adapter-r8" / "adapter_model.safetensors").exists()
    dead = federation.nodes[3]
    wait(lambda: not dead.orphans(), 60, "the end of orphans", lambda: "")


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in filter(processes.alive, pids):
        os.kill(pid, number)
