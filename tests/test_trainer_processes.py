"""A local round in two processes: the same numbers as in one, and clear failures."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from flwr.app import ConfigRecord, Context, MetricRecord, RecordDict

from ilora_app import wire
from ilora_app.trainer import ProcessesError, carried, in_processes
from ilora_app.trainer.worker import lives
from tests.example_apps import EXAMPLES, Watched, apps, run_config_of

ROOT = EXAMPLES.parent


def fails(content: RecordDict, context: Context) -> RecordDict:
    raise RuntimeError("of this node alone")


def sleeps(content: RecordDict, context: Context) -> RecordDict:
    time.sleep(600)
    return content


def context() -> Context:
    return Context(1, 7, {"partition-id": 0}, RecordDict(), {"processes": 2})


def still(model: str, folder: Path) -> str:
    """The same model without dropout, which draws otherwise in every process."""
    for file in Path(model).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.slow
def test_two_processes_come_to_what_one_comes_to(tmp_path, tiny_model, names):
    folder = "trainer_in_my_client"
    changes = {"model": still(tiny_model, tmp_path), "rounds": 2, "steps": 3}
    server, client = apps(folder)
    run_config = run_config_of(folder) | changes
    grid = Watched(client.app, run_config, nodes=2)
    server.app(grid, Context(1, 0, {}, RecordDict(), run_config))
    content, state, context = grid.seen[-1]
    assert context.run_config["processes"] == 1
    found = []
    for processes in (1, 2):
        facts = {**run_config, "processes": processes}
        one = Context(1, 1, context.node_config, state.copy(), facts)
        reply = in_processes(client.local_round, content, one, processes)
        found.append((reply, one.state))
    (alone, kept), (together, kept_together) = found
    losses = [reply.metric_records[wire.METRICS] for reply in (alone, together)]
    assert losses[1][wire.LOSS] == pytest.approx(losses[0][wire.LOSS], abs=1e-6)
    assert losses[1][wire.EXAMPLES] == losses[0][wire.EXAMPLES]
    assert list(kept) == list(kept_together)
    for one, other in ((alone, together), (kept, kept_together)):
        assert list(one.array_records) == list(other.array_records)
        for name, record in one.array_records.items():
            values = wire.decode_tensors(record)
            others = wire.decode_tensors(other.array_records[name])
            assert sum(float(v.norm()) for v in values.values()) > 1e-3, name
            for key, value in values.items():
                torch.testing.assert_close(
                    others[key], value, rtol=0, atol=1e-6, msg=f"{name} {key}"
                )


@pytest.mark.long
def test_a_process_that_fails_ends_the_round(capfd):
    with pytest.raises(ProcessesError, match=r"2 processes .* exit code 1") as error:
        in_processes(fails, RecordDict(), context(), 2)
    assert "of this node alone" not in str(error.value), "others may read the message"
    assert "of this node alone" in capfd.readouterr().err


@pytest.mark.slow
def test_processes_that_take_too_long_are_ended():
    clock = time.monotonic()
    with pytest.raises(ProcessesError, match="longer than 3 s"):
        in_processes(sleeps, RecordDict(), context(), 2, timeout=3.0)
    assert time.monotonic() - clock < 40


def test_what_other_processes_cannot_find_is_refused():
    def inside(content: RecordDict, context: Context) -> RecordDict:
        return content

    with pytest.raises(ValueError, match="inside: expected a function at the top"):
        in_processes(inside, RecordDict(), context(), 2)
    with pytest.raises(ValueError, match="processes = 0: expected 1 or more"):
        in_processes(fails, RecordDict(), context(), 0)


def test_one_process_is_this_one():
    content = RecordDict({"config": ConfigRecord({"a": 1})})
    assert (
        in_processes(lambda content, context: content, content, context(), 1) is content
    )


def test_records_come_as_they_went(tmp_path):
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.zeros(0)}
    group = RecordDict(
        {
            "arrays": wire.encode_tensors(tensors),
            "sums": wire.encode_tensors({"s": torch.ones(2) / 3}, torch.float64),
            "config": ConfigRecord({"t": "x", "n": 2, "b": b"\x00\xff", "l": [b"1"]}),
            "metrics": MetricRecord({"loss": 0.1, "counts": [1, 2]}),
        }
    )
    carried.write(tmp_path / "f", {"content": group, "none": RecordDict()}, {"x": [1]})
    records, facts = carried.read(tmp_path / "f")
    assert facts == {"x": [1]}
    assert not records["none"]
    found = records["content"]
    assert list(found) == list(group)
    assert found["config"] == group["config"]
    assert found["metrics"] == group["metrics"]
    for name in ("arrays", "sums"):
        sent, read = (
            wire.decode_tensors(g.array_records[name]) for g in (group, found)
        )
        assert list(read) == list(sent)
        for key, value in sent.items():
            assert read[key].dtype == value.dtype
            assert torch.equal(read[key], value)


def notes(content: RecordDict, context: Context) -> RecordDict:
    """Say by which id it runs, and go on."""
    folder = Path(str(context.run_config["folder"]))
    (folder / os.environ["RANK"]).write_text(str(os.getpid()))
    time.sleep(600)
    return content


def begins(folder: Path) -> None:
    """As a ClientApp: a process whose round two others train."""
    one = Context(1, 7, {}, RecordDict(), {"folder": str(folder)})
    in_processes(notes, RecordDict(), one, 2)


@pytest.mark.long
def test_processes_end_with_the_client_that_started_them(tmp_path):
    code = "from tests import test_trainer_processes as t; "
    code += f"t.begins(t.Path({str(tmp_path)!r}))"
    client = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        until(lambda: len(list(tmp_path.glob("?"))) == 2, 120)
        workers = [int(file.read_text()) for file in tmp_path.glob("?")]
        assert all(map(lives, workers))
    finally:
        client.kill()
        client.wait()
    until(lambda: not any(map(lives, workers)), 60)


def until(reached: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.2)
