"""Replies of a round leave memory for the disk, and come back with the same numbers."""

import subprocess
import sys

import pytest
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from ilora_app import client_app, strategies, wire
from ilora_app.federation import spool
from ilora_app.federation.spool import Spool
from ilora_app.launch.local_grid import LocalGrid
from tests.builders import random_state
from tests.toy import Problem, Toy

ROUND = """
import sys
from pathlib import Path
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.superlink.grid import InMemoryGrid
from ilora_app import client_app, wire
from ilora_app.federation import spool
from ilora_app.federation.exchange import exchange
from ilora_app.federation.limits import Limits
from ilora_app.federation.member import Member
from ilora_app.federation.replies import ReplyReader, Request, collect
from ilora_app.federation import outliers, metrics
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods import METHODS
from ilora_app.methods.state import GlobalState, Share, weights_of

torch.set_num_threads(1)
spool.HELD = 8_000_000
count, folder = int(sys.argv[1]), Path(sys.argv[2])

def factors():
    pairs = {m: (torch.randn(256, 8), torch.randn(8, 256)) for m in map(str, range(8))}
    return AdapterState(LoraFactors(pairs), {})

class Grid(LocalGrid):
    pull_interval = 0.0
    send_and_receive = InMemoryGrid.send_and_receive

    def push_messages(self, messages):
        self.sent = {f"m{n}": message for n, message in enumerate(messages)}
        return list(self.sent)

    def pull_messages(self, message_ids):
        (name,) = message_ids
        asked = self.sent.pop(name)
        said = MetricRecord({wire.EXAMPLES: 5, wire.LOSS: 1.0, wire.SECONDS: 1.0})
        arrays = wire.encode_tensors(factors().named_tensors())
        content = RecordDict({wire.ARRAYS: arrays, wire.METRICS: said})
        reply = Message(content, reply_to=asked)
        reply.metadata.__dict__["_reply_to_message_id"] = name
        return [reply]

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def round_of(count):
    kept = spool.Spool(folder)
    kept.begin()
    grid = Grid(client_app.app, {}, 1)  # says whose run it is
    asked = [Message(RecordDict(), n + 1, "train") for n in range(count)]
    before = anonymous()
    how = 60.0, lambda _: None, 0.0, kept
    replies = exchange(grid, asked, *how)
    reader = ReplyReader(method, Limits(), 2.0, spool=kept)
    requests = {n + 1: Request(Member(n + 1, 8, 5), share) for n in range(count)}
    good, bad = collect(requests, replies, reader.update, 1.0)
    assert len(good) == count, bad
    updates, _, _ = outliers.hold(good, 2.0, 10.0)
    made = method.advance(state, updates)
    metrics.of_training(updates, weights_of(updates), made.energy, [8], 2.0)
    return anonymous() - before

method, start = METHODS["ilora"](decomposition="qr"), factors()
share, state = Share(start), GlobalState(start, step=1)
round_of(100)
print(round_of(int(count)))
"""


@pytest.mark.slow
def test_replies_are_not_in_memory_together(tmp_path):
    """800 replies are 105 MB as they came, and as much as read."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", ROUND, "800", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 60 * 1024  # KiB
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("strategy", [strategies.ILoRA, strategies.HetLoRA])
def test_numbers_are_the_same_with_every_reply_on_the_disk(
    tmp_path, monkeypatch, strategy
):
    monkeypatch.setattr(spool, "HELD", 0)
    ends = []
    for kept in (None, Spool(tmp_path)):
        toy = Toy(strategy(), Problem((2, 4, 3), (5, 7, 9)))
        toy.strategy._training.reader.spool = kept
        for _ in range(3):
            replies = toy.ask()
            for reply in replies if kept else ():
                kept.message(reply)
            toy.take(replies)
        ends.append(toy.strategy.global_model().named_tensors())
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def test_a_disk_without_room_leaves_replies_in_memory(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(spool, "HELD", 0)
    LocalGrid(client_app.app, {}, 1)  # says whose run it is
    asked = Message(RecordDict(), 1, "train")
    tensors = random_state(2).named_tensors()
    content = RecordDict({"arrays": wire.encode_tensors(tensors)})
    content["metrics"] = MetricRecord({"x": 1.0})
    reply = Message(content, reply_to=asked)
    for folder in (tmp_path / "absent", tmp_path):
        Spool(folder).message(reply)
        record = reply.content["arrays"]
        assert isinstance(record, ArrayRecord)
        for name, value in wire.decode_tensors(record).items():
            assert torch.equal(value, tensors[name])
    assert "replies of this round stay in memory" in caplog.text
