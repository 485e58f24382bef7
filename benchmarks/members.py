"""What members cost the ServerApp that only wait: to join, and in rounds of others.

    python -m benchmarks.members [--members 1000,5000,20000] [--json DIR]

A real strategy, with its events and checkpoints in a run folder, over nodes that answer
in this process with what they were sent: nothing is trained. All but the last few join
at once, and those come one by one, each before a round. Ten members train in a round,
of two ranks on one layer of 16 x 16. Seconds are those of the processor, the least
of the rounds; bytes are those of a round with one newcomer.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from flwr.app import (
    ConfigRecord,
    Context,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)

from benchmarks.rows import Row, report
from ilora_app import wire
from ilora_app.federation.membership import Membership
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.lora.factors import AdapterState
from ilora_app.lora.initialisation import standard_factors
from ilora_app.runs.checkpoint import FOLDER as CHECKPOINTS
from ilora_app.runs.fact_log import FILE
from ilora_app.runs.folder import RunFolder
from ilora_app.runs.parts import PartsFolder
from ilora_app.runs.places import EVENTS
from ilora_app.server.checkpointing import Checkpointer
from ilora_app.settings import parsing
from ilora_app.strategies import build

RANKS, ROUNDS, TRAINING = (4, 2), 5, 10
_KEY = "0123456789abcdef"


@dataclass
class Cost:
    """Of a number of members.

    Attributes:
        meeting: seconds to take in all but the last few.
        seconds: of each later round, in which one joins and ten train.
        events, checkpoint, logged: bytes that the last round wrote.

    """

    members: int
    meeting: float = 0.0
    seconds: list[float] = field(default_factory=list)
    events: int = 0
    checkpoint: int = 0
    logged: int = 0


class Waiting(LocalGrid):
    """Nodes with keys, of which the first ``there`` are connected."""

    def __init__(self, members: int) -> None:
        super().__init__(_answer, {}, members)  # type: ignore[arg-type]
        self.there = members - ROUNDS
        pem = b"-----BEGIN PUBLIC KEY-----%d"
        self._nodes = [
            SimpleNamespace(node_id=n + 1, public_key=pem % n) for n in range(members)
        ]

    def get_node_ids(self) -> Iterable[int]:
        """Those that are connected."""
        return range(1, self.there + 1)

    def get_nodes(self) -> Iterable[Any]:
        """The same, with their public keys."""
        return self._nodes[: self.there]


class _Counting(logging.Handler):
    """Counts the bytes of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.bytes += len(self.format(record))


def _answer(message: Message, context: Context) -> Message:
    """Say who it is, or send back what came, and a control variate of zeros."""
    k = int(context.node_config[wire.PARTITION])
    if message.metadata.message_type == MessageType.QUERY:
        facts = {
            wire.RANK: RANKS[k % len(RANKS)],
            wire.EXAMPLES: 100 + k % 7,
            wire.PARTITION: k,
            wire.PARTITIONS: int(context.node_config[wire.PARTITIONS]),
        }
        records: dict[str, Any] = {wire.CONFIG: ConfigRecord(facts)}
        return Message(RecordDict(records), reply_to=message)
    sent = message.content
    held = wire.decode_tensors(sent.array_records[wire.ARRAYS])
    up = {n: v for n, v in held.items() if not n.startswith(wire.OFFSET)}
    metrics = {wire.EXAMPLES: 100, wire.LOSS: 1.0, wire.SECONDS: 1.0}
    records = {
        wire.ARRAYS: wire.encode_tensors(up),
        wire.METRICS: MetricRecord(metrics),
    }
    if wire.CORRECTION in sent:
        records[wire.CORRECTION] = sent[wire.CORRECTION]
    return Message(RecordDict(records), reply_to=message)


def measure(members: int, place: Path) -> Cost:
    """Run the rounds of so many members in a folder."""
    config = {
        "num-server-rounds": ROUNDS,
        "fraction-train": 1e-9,
        "min-train-nodes": TRAINING,
        "fraction-evaluate": 0.0,
        "drift-correction": "control-variates",
        "keep-checkpoints": 1,
        "output-dir": str(place),
    }
    cost, grid, said = Cost(members), Waiting(members), _Counting()
    settings, logger = parsing.load(config), logging.getLogger("flwr")
    membership = Membership(known_by="key")
    folder = RunFolder(settings, 1)
    strategy = build(settings, membership, folder)
    parts = PartsFolder(folder.path)
    if strategy.drift_correction:
        strategy.drift_correction.keep_in(parts)
    how = strategy, settings, folder.path, parts, _KEY
    keeper = Checkpointer(*how, lambda path: None)
    usual, logger.handlers = logger.handlers, [said]
    clock = time.process_time()
    membership.meet(grid, 60.0)
    cost.meeting = time.process_time() - clock
    clock, written = time.process_time(), (0, 0, 0)
    kept = folder.path / CHECKPOINTS

    def after(rows: list[dict[str, Any]]) -> None:
        nonlocal clock, written
        keeper.keep(rows)
        now = time.process_time()
        if rows[-1]["round"]:
            cost.seconds.append(now - clock)
        events = (folder.path / EVENTS).stat().st_size
        facts = (kept / FILE).stat().st_size
        last = sum(file.stat().st_size for file in kept.glob("round-*/*"))
        found = events, facts, said.bytes
        one = [new - old for new, old in zip(found, written, strict=True)]
        cost.events, cost.checkpoint, cost.logged = one[0], one[1] + last, one[2]
        written = found
        grid.there += 1
        clock = time.process_time()

    draw = torch.Generator().manual_seed(0)
    factors = standard_factors({"layer": (16, 16)}, max(RANKS), draw)
    begun = wire.model_record(AdapterState(factors, {}).named_tensors())
    strategy.start(grid, begun, ROUNDS, 60.0, after_round=after)
    logger.handlers = usual
    return cost


def main() -> None:
    """Print rows for each number of members."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", default="1000,5000,20000", help="with commas")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for number in map(int, given.members.split(",")):
        with tempfile.TemporaryDirectory() as place:
            cost = measure(number, Path(place))
        what = f"{number:,} members"
        each = f"{1e6 * cost.meeting / number:.0f} us each"
        rows.append(Row(f"{what}: to join at once", f"{cost.meeting:.3g} s", each))
        rows.append(
            Row(
                f"{what}: a round of {TRAINING} with one newcomer",
                f"{1e3 * min(cost.seconds):.1f} ms",
                f"bytes: events {cost.events:,}, checkpoint {cost.checkpoint:,}, "
                f"log {cost.logged:,}",
            )
        )
    report("members", rows, given.json)


if __name__ == "__main__":
    main()
