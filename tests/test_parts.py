"""What clients have brought lies beside the checkpoints, and not in memory."""

import gc
import json

import pytest
import torch

from ilora_app.corrections import ControlVariates, Holder, Returned
from ilora_app.federation.client_versions import ClientVersions
from ilora_app.runs import parts, store
from ilora_app.runs.checkpoint import Checkpoint, Checkpoints
from ilora_app.runs.parts import PartsFolder
from tests.builders import random_state
from tests.controlled import gradient, largest

LIKE = random_state(2)


class Server:
    """The server half over rounds, with a checkpoint after each, as a run has it."""

    def __init__(self, folder, members, basis="keep"):
        self.parts, self.checkpoints = PartsFolder(folder), Checkpoints(folder, 2)
        self.half = ControlVariates(basis=basis)
        self.half.keep_in(self.parts)
        self.half.begin(LIKE)
        self.holders = [Holder(node, 2, 1.0 + node % 3) for node in range(members)]
        self.names = {holder.node: str(holder.node) for holder in self.holders}
        self.number, self.factors = 0, LIKE.factors

    def round(self, nodes):
        self.number += 1
        self.half.broadcast(self.holders, self.factors)
        deltas = {node: gradient(2, 1000 * self.number + node) for node in nodes}
        self.half.aggregate(Returned(self.number, deltas, self.factors))
        self.factors = random_state(2, seed=self.number).factors
        self.keep()

    def keep(self):
        tensors, taken = self.half.saved(self.names)
        flat = {f"{n}/{k}": v for n, part in tensors.items() for k, v in part.items()}
        made = Checkpoint(self.number, "k", {}, [], None, flat, {"taken": taken})
        self.parts.flush()
        self.checkpoints.save(made)
        self.parts.sweep(self.number, self.checkpoints.oldest)

    def control(self):
        return self.half.broadcast(self.holders, self.factors).named_tensors()

    def resumed(self, folder):
        """Another server, from the newest checkpoint that is whole."""
        found = Checkpoints(folder, 2).load()
        other = Server(folder, len(self.holders), self.half.basis)
        other.number, other.factors = found.round, self.factors
        other.parts.resume(found.facts, found.round)
        saved: dict = {}
        for name, value in found.tensors.items():
            part, _, tensor = name.partition("/")
            saved.setdefault(part, {})[tensor] = value
        nodes = {name: node for node, name in self.names.items()}
        other.half.load(saved, found.facts["taken"], nodes)
        return other


def bytes_of_tensors():
    gc.collect()
    found = (one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
    return sum(one.untyped_storage().nbytes() for one in found)


def test_memory_and_checkpoints_do_not_grow_with_ten_thousand_members(tmp_path):
    """20 of them a round: what is held after 12 rounds is what was after 3."""
    server, versions, held = Server(tmp_path, 10_000), ClientVersions(), []
    for number in range(12):
        nodes = range(20 * number, 20 * number + 20)
        server.round(nodes)
        versions.note(nodes, [], 0)
        if number in (2, 11):
            files = tmp_path.glob("checkpoints/*/*.safetensors")
            sizes = sum(path.stat().st_size for path in files)
            held.append((bytes_of_tensors(), sizes))
    one = sum(4 * value.numel() for value in LIKE.named_tensors().values())
    assert held[1][0] - held[0][0] < one  # 180 more clients have brought theirs
    assert held[1][1] == held[0][1]
    names = {node: str(node) for node in range(10_000)}
    assert len(json.dumps(versions.facts(names))) < 12_000  # 240 have taken part
    assert len(list((tmp_path / parts.FOLDER).iterdir())) == 240


@pytest.mark.parametrize("basis", ["keep", "rotate"])
def test_a_server_goes_on_from_parts_with_the_same_numbers(tmp_path, basis):
    server = Server(tmp_path, 7, basis)
    for nodes in ([0, 1, 2], [2, 3], [5, 0]):
        server.round(nodes)
    other = server.resumed(tmp_path)
    for one, two in zip(
        server.control().values(), other.control().values(), strict=True
    ):
        assert torch.equal(one, two)
    for each in (server, other):
        for node in (0, 1, 2, 3, 5):
            each.half.forget(node)
        assert not largest([each.control()])


def test_a_part_stays_while_a_checkpoint_has_its_key(tmp_path):
    """Two checkpoints are kept: the older one is what a torn newest falls back to."""
    server = Server(tmp_path, 3)
    there = tmp_path / parts.FOLDER
    for number in range(1, 5):
        server.round([0, 1])
        rounds = {path.name.split("-")[0] for path in there.iterdir()}
        assert rounds == {str(n) for n in (number - 1, number) if n}
    before = {name: value.clone() for name, value in server.control().items()}
    server.round([0, 2])
    facts = tmp_path / "checkpoints" / "round-5" / "facts.json"
    facts.write_text(facts.read_text()[:-40])
    other = server.resumed(tmp_path)
    assert other.number == 4
    for name, value in other.control().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_part_costs_the_newest_checkpoint_alone(tmp_path, cut):
    server = Server(tmp_path, 3)
    for _ in range(3):
        server.round([0, 1])
    file = tmp_path / parts.FOLDER / "3-0" / "tensors.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 0x40
    file.write_bytes(data[:-40] if cut else data)
    assert server.resumed(tmp_path).number == 2


def test_a_checkpoint_without_its_parts_is_torn(tmp_path):
    server = Server(tmp_path, 3)
    server.round([0, 1])
    server.round([1])
    store.read(tmp_path / parts.FOLDER / "2-0")
    for path in (tmp_path / parts.FOLDER / "2-0").iterdir():
        path.unlink()
    (tmp_path / parts.FOLDER / "2-0").rmdir()
    assert server.resumed(tmp_path).number == 1
    assert parts.problem(tmp_path, {"taken": {"0": [1, 1.0, "../parts/1-0"]}})


def test_what_a_full_disk_has_no_room_for_stays_in_memory_until_it_has(
    tmp_path, monkeypatch, caplog
):
    server, write = Server(tmp_path, 3), store.write

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(OSError, match="No space"):
        server.round([0, 1])
    assert "stays in memory" in caplog.text
    expected = server.control()
    monkeypatch.setattr(store, "write", write)
    server.keep()
    for name, value in server.resumed(tmp_path).control().items():
        assert torch.equal(value, expected[name])
