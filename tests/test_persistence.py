"""What a node keeps on its own disk, and takes up where its memory is new."""

import os
import time

import pytest
import torch
from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MessageType,
    RecordDict,
)
from flwr.supercore.task_identity import TaskIdentity

from ilora_app import wire
from ilora_app.node import persistence
from ilora_app.runs import store
from tests.conftest import read_events
from tests.local_run import run

KEY = "0123456789abcdef"
VALUES = {"x": torch.arange(6.0).reshape(2, 3), "a.b:c": torch.zeros(0, 2)}


def context(folder, **node_config) -> Context:
    facts = {"partition-id": 1, "num-partitions": 3, "state-path": str(folder)}
    return Context(1, 7, facts | node_config, RecordDict(), {})


def message(number: int, kind: str = MessageType.TRAIN, key: str = KEY) -> Message:
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    facts = ConfigRecord({wire.ROUND: number, wire.RUN_KEY: key})
    return Message(RecordDict({wire.CONFIG: facts}), 7, kind)


def trained(folder, *rounds: int, keep: int = 3) -> None:
    there = context(folder)
    for number in rounds:
        there.state["values"] = wire.encode_tensors(VALUES)
        there.state["facts"] = ConfigRecord({"number": number})
        persistence.keep(message(number), there, keep)


def taken_up(folder, finished: int) -> tuple[int, Context]:
    there = context(folder)
    return persistence.restore(message(finished, MessageType.QUERY), there), there


def test_it_comes_back_as_it_was(tmp_path):
    trained(tmp_path, 1, 2)
    found, there = taken_up(tmp_path, 2)
    assert found == 2
    assert there.state.config_records["facts"]["number"] == 2
    values = wire.decode_tensors(there.state.array_records["values"])
    assert list(values) == list(VALUES)
    assert all(values[name].equal(VALUES[name]) for name in VALUES)


def test_records_come_back_to_the_last_bit_whatever_their_numbers(tmp_path):
    there, double = context(tmp_path), {"x": torch.rand(3, dtype=torch.float64)}
    there.state["double"] = wire.encode_tensors(double, torch.float64)
    there.state["nan"] = wire.encode_tensors({"x": torch.tensor([torch.nan, -0.0])})
    there.state["no arrays"] = wire.encode_tensors({})
    there.state["nothing"] = ArrayRecord()
    persistence.keep(message(1), there, 3)
    _, again = taken_up(tmp_path, 1)
    names = ["double", "nan", "no arrays", "nothing"]
    assert [n for n in again.state if n in names] == names
    for name in names:
        assert again.state[name] == there.state[name]
    assert wire.decode_tensors(again.state["double"])["x"].equal(double["x"])


def test_a_state_of_an_earlier_version_is_read(tmp_path):
    folder = tmp_path / KEY / "partition-1-of-3" / "round-4"
    tensors = {f"values:{name}": value for name, value in VALUES.items()}
    configs = {"facts": {"number": 4}}
    store.write(folder, tensors, {"records": ["values", "facts"], "configs": configs})
    found, there = taken_up(tmp_path, 4)
    assert (found, there.state["facts"]["number"]) == (4, 4)
    values = wire.decode_tensors(there.state["values"])
    assert all(values[name].equal(VALUES[name]) for name in VALUES)


def test_a_round_that_the_server_has_not_finished_leaves_no_trace(tmp_path):
    trained(tmp_path, 1, 4, 5)
    assert taken_up(tmp_path, 4)[0] == 4
    assert taken_up(tmp_path, 5)[0] == 4


def test_it_is_that_of_the_last_round_in_which_the_node_trained(tmp_path):
    trained(tmp_path, 1, 2)
    assert taken_up(tmp_path, 6)[0] == 2


def test_only_the_newest_stay(tmp_path):
    trained(tmp_path, 1, 2, 9, 10, keep=2)
    names = {path.name for path in (tmp_path / KEY / "partition-1-of-3").iterdir()}
    assert names == {"round-9", "round-10"}


def test_a_training_message_takes_up_the_round_before(tmp_path):
    """A node that was restarted under the same id is not asked who it is."""
    trained(tmp_path, 2, 3)
    there = context(tmp_path)
    assert persistence.restore(message(3), there) == 2
    persistence.keep(message(3), there, 3)
    assert persistence.restore(message(9), there) == 3  # once is enough


def test_a_torn_state_is_none(tmp_path, caplog):
    trained(tmp_path, 1, 2)
    place = tmp_path / KEY / "partition-1-of-3" / "round-2"
    (place / "facts.json").write_text("{")
    assert taken_up(tmp_path, 2)[0] == 0
    assert "this node starts anew" in caplog.text


@pytest.mark.parametrize("key", ["", "../../../etc", "0123456789abcdef/..", "0" * 15])
def test_a_name_of_the_run_that_is_none_is_refused(tmp_path, key):
    with pytest.raises(wire.WireError, match="expected 16 hexadecimal digits"):
        persistence.restore(message(1, key=key), context(tmp_path))


def test_nodes_with_data_of_their_own_have_names_of_their_own(tmp_path):
    """Also where the data lies under one path, on machines of their own."""

    def name(path: str, machine: str) -> str:
        own = {"data-path": path, "state-path": str(tmp_path / machine)}
        return persistence.identity(own | {"lora-rank": len(machine)})

    names = [name("/data/a", "one"), name("/data/b", "one"), name("/data/a", "other")]
    assert len(set(names)) == 3
    assert names == [
        name("/data/a", "one"), name("/data/b", "one"), name("/data/a", "other"),
    ]  # fmt: skip
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o700


def test_a_state_folder_that_cannot_be_written_leaves_no_name(tmp_path):
    (tmp_path / "file").write_text("no folder")
    own = {"data-path": "/data/a", "state-path": str(tmp_path / "file")}
    assert persistence.identity(own) == ""


def test_what_nobody_has_gone_on_with_for_a_month_goes(tmp_path):
    trained(tmp_path, 1)
    mine = tmp_path / "notes"
    mine.mkdir()
    long_ago = time.time() - 40 * 24 * 3600
    for path in (mine, tmp_path / KEY, tmp_path / KEY / "partition-1-of-3"):
        os.utime(path, (long_ago, long_ago))
    there = context(tmp_path)
    persistence.keep(message(1, key="f" * 16), there, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"notes", "f" * 16}


def test_what_a_node_has_spent_stays_longer(tmp_path):
    trained(tmp_path, 1)
    place = tmp_path / KEY / "partition-1-of-3"
    (place / persistence.ACCOUNT).write_text("[[1.5, 0.1, 3]]")
    long_ago = time.time() - 40 * 24 * 3600
    for path in (place, tmp_path / KEY):
        os.utime(path, (long_ago, long_ago))
    persistence.keep(message(1, key="f" * 16), context(tmp_path), 3)
    assert [path.name for path in place.iterdir()] == [persistence.ACCOUNT]


def test_the_state_folder_must_be_absolute(run_config):
    folder, _, _ = run(run_config, node_configs={1: {"state-path": "here"}})
    (event,) = read_events(folder, "node-left-out")
    assert "--node-config state-path: expected an absolute" in event["reason"]
