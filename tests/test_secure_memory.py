"""No number of a single node is in the server's memory or files behind masks.

The server runs in a process of its own; nodes are here. After the answers of the last
training, and at its end, it writes all of its writable memory into a file, and this
process looks in there for numbers that it knows: what each node has trained. Freed
memory is searched as well, as nothing overwrites it.
"""

import mmap
import multiprocessing
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, MessageType, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as Proto

from ilora_app import client_app, wire
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.node import answers, secure_steps
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/mem").exists(), reason="there is no /proc/self/mem"
    ),
]
NODES = 4


class Remote(LocalGrid):
    """The server's end: nodes are behind a pipe."""

    pipe: Connection
    dumps: Path

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        sent = list(messages)
        self.pipe.send_bytes(packed(sent))
        replies = unpacked(self.pipe.recv_bytes())
        if sent and sent[0].metadata.message_type == MessageType.TRAIN:
            dump(self.dumps / "train")  # the last round's in the end
        return replies


def packed(messages: list[Message]) -> bytes:
    texts = [message_to_proto(message).SerializeToString() for message in messages]
    return b"".join(len(text).to_bytes(8, "big") + text for text in texts)


def unpacked(data: bytes) -> list[Message]:
    found = []
    while data:
        size = int.from_bytes(data[:8], "big")
        found.append(message_from_proto(Proto.FromString(data[8 : 8 + size])))
        data = data[8 + size :]
    return found


def dump(file: Path) -> None:
    """Write all memory of this process that it can write to."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    with (
        Path("/proc/self/mem").open("rb", buffering=0) as memory,
        file.open("wb") as out,
    ):
        for line in lines:
            where, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(text, 16) for text in where.split("-"))
            for at in range(start, end, 1 << 24):
                try:
                    memory.seek(at)
                    data = memory.read(min(1 << 24, end - at))
                    pages = np.frombuffer(data, np.uint8).reshape(-1, 4096)
                    out.write(pages[pages.any(axis=1)].tobytes())
                except (OSError, ValueError, OverflowError):
                    break  # of the system's own


def serve(pipe: Connection, config: dict[str, Any], dumps: Path) -> None:
    """The server's process."""
    torch.set_num_threads(1)
    grid = Remote(client_app.app, config, NODES)
    grid.pipe, grid.dumps = pipe, dumps
    prepared = preflight.prepare(Context(1, 0, {}, RecordDict(), config).run_config)
    server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
    server.run()
    dump(dumps / "end")
    pipe.send_bytes(b"")


def marks(content: RecordDict) -> list[bytes]:
    """Some numbers of what a node has trained, which stand nowhere else, as kept."""
    found = []
    for record, end, kinds in (
        (wire.ARRAYS, "classifier.weight", ("<f4", "<f8")),
        (wire.CORRECTION, "1.attention.self.query.lora_A", ("<f4",)),
    ):
        tensors = wire.decode_tensors(content.array_records[record])
        (name,) = (name for name in tensors if name.endswith(end))
        flat = tensors[name].flatten().numpy()
        some = flat[len(flat) // 2 :][:4]
        assert len(set(some.tolist())) == 4
        found += [some.astype(kind).tobytes() for kind in kinds]
    return found


@pytest.fixture
def trained(monkeypatch) -> list[bytes]:
    """What nodes train, before anything masks it."""
    found: list[bytes] = []
    real = secure_steps.training

    def masking(local, content, message, context):
        found.extend(marks(content))
        return real(local, content, message, context)

    monkeypatch.setattr(answers.secure_steps, "training", masking)
    return found


def held(config: dict[str, Any], place: Path, seen: list[bytes]) -> dict[str, int]:
    """How many marks of single nodes each dump, and each file of the run, holds."""
    dumps = place / "dumps"
    dumps.mkdir()
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=(there, config, dumps), daemon=True)
    process.start()
    there.close()
    nodes = LocalGrid(client_app.app, config, NODES)
    while data := here.recv_bytes():
        replies = list(nodes.send_and_receive(unpacked(data)))
        trains = replies[0].metadata.message_type == MessageType.TRAIN
        if trains and not config.get("secure-aggregation"):
            for reply in replies:
                seen += marks(reply.content)
        here.send_bytes(packed(replies))
    process.join(60)
    found = {}
    files = [*dumps.iterdir(), *Path(config["output-dir"]).rglob("*")]
    for file in (f for f in files if f.is_file() and f.stat().st_size):
        with (
            file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as memory,
        ):
            name = file.name if file.parent == dumps else "files"
            hits = sum(memory.find(mark) >= 0 for mark in seen)
            found[name] = found.get(name, 0) + hits
        if file.parent == dumps:
            file.unlink()
    return found


def test_what_one_node_has_trained_is_nowhere(run_config, tmp_path, trained):
    more = {"secure-aggregation": True, "decomposition": "qr", "client-ranks": "4"}
    found = held(run_config | more, tmp_path, trained)
    assert len(trained) == len(set(trained)) == 2 * NODES * 3
    assert set(found) == {"train", "end", "files"}
    assert not any(found.values()), found


def test_in_the_clear_it_is_found(run_config, tmp_path):
    """The search is a good one."""
    seen: list[bytes] = []
    more = {"drift-correction": "control-variates", "client-ranks": "4"}
    found = held(run_config | more, tmp_path, seen)
    assert found["train"] >= len(seen) / 3
    assert found["files"] > 0  # control variates of single nodes, in parts
