"""Folders that are whole or not there, and the checkpoints made of them."""

import json
import logging
import pathlib
import resource
import shutil

import pytest
import torch

from ilora_app.runs import best, store
from ilora_app.runs.checkpoint import Checkpoint, Checkpoints
from ilora_app.runs.folder import RunFolder
from ilora_app.settings import Settings
from tests.local_run import run


def tensors() -> dict[str, torch.Tensor]:
    wide = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    return {
        "z": wide, "a": wide.T, "none": torch.zeros(3, 0), "half": wide.bfloat16(),
        "same": wide, "number": torch.tensor(1.5),
    }  # fmt: skip


def test_what_is_read_is_what_was_written(tmp_path):
    facts = {"round": 3, "loss": 0.1 + 0.2, "text": "ä", "none": None}
    store.write(tmp_path / "one", tensors(), facts)
    found, read = store.read(tmp_path / "one")
    assert read == facts
    assert list(found) == list(tensors())
    for name, value in tensors().items():
        assert found[name].dtype == value.dtype
        assert found[name].equal(value)
    assert {path.name for path in tmp_path.iterdir()} == {"one"}


def test_a_folder_is_replaced_whole(tmp_path):
    store.write(tmp_path / "one", tensors(), 1)
    store.write(tmp_path / "one", {}, 2)
    assert store.read(tmp_path / "one") == ({}, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"one"}


def test_a_failure_leaves_what_was_there(tmp_path):
    store.write(tmp_path / "one", tensors(), 1)
    with pytest.raises(TypeError):
        store.write(tmp_path / "one", {}, {"no JSON": object()})
    assert store.read(tmp_path / "one")[1] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"one"}


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)


def other_facts(path):
    whole = json.loads(path.read_text())
    whole["facts"] = {"round": 9}
    path.write_text(json.dumps(whole))


def a_list(path):
    path.write_text("[]")


@pytest.mark.parametrize(
    ("name", "tear"),
    [
        ("tensors.safetensors", cut),
        ("tensors.safetensors", flip),
        ("tensors.safetensors", lambda path: path.unlink()),
        ("facts.json", cut),
        ("facts.json", lambda path: path.unlink()),
        ("facts.json", other_facts),
        ("facts.json", a_list),
    ],
)
def test_a_torn_folder_is_known(tmp_path, name, tear):
    store.write(tmp_path / "one", tensors(), {"round": 1})
    tear(tmp_path / "one" / name)
    with pytest.raises(store.TornError, match=name.replace(".", r"\.")):
        store.read(tmp_path / "one")


def checkpoint(number: int) -> Checkpoint:
    rows = [{"round": i, "loss": 1 / (1 + i)} for i in range(number + 1)]
    return Checkpoint(number, "00", {"seed": 0}, rows, None, tensors(), {"step": 1})


def test_the_newest_stay(tmp_path):
    made = Checkpoints(tmp_path, keep=2)
    for number in (8, 9, 10):
        made.save(checkpoint(number))
    folders = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert folders == {"round-9", "round-10", "facts.log"}
    found = made.load()
    assert found.round == 10
    assert found.rows == checkpoint(10).rows
    assert list(found.tensors) == list(tensors())


@pytest.mark.parametrize("name", ["tensors.safetensors", "facts.json"])
def test_a_torn_one_falls_back_to_the_one_before(tmp_path, caplog, name):
    made = Checkpoints(tmp_path)
    for number in (1, 2):
        made.save(checkpoint(number))
    cut(tmp_path / "checkpoints" / "round-2" / name)
    with caplog.at_level(logging.WARNING, "flwr"):
        assert made.load().round == 1
    assert "going on from round 1" in caplog.text
    shutil.rmtree(tmp_path / "checkpoints" / "round-1")
    with pytest.raises(store.TornError, match=r"no whole checkpoint; .*round-2"):
        made.load()


def test_what_a_crash_left_half_done_is_no_checkpoint_and_goes(tmp_path):
    made = Checkpoints(tmp_path)
    made.save(checkpoint(1))
    half = tmp_path / "checkpoints" / ".round-2-abc"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    assert made.load().round == 1
    made.save(checkpoint(2))
    assert not half.exists()


def test_a_run_keeps_its_last_rounds(run_config):
    folder, _, server = run(run_config | {"num-server-rounds": 3})
    found = Checkpoints(folder).load()
    assert (found.round, len(found.rows)) == (3, 4)
    assert found.rows == server.folder.rows
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {"round-2", "round-3", "facts.log"}


def test_a_crash_between_two_renames_leaves_the_old_folder(tmp_path, monkeypatch):
    store.write(tmp_path / "best", {}, "old")

    def crash(made, place):
        if made.name.startswith(".best") and place.name == "best":
            raise KeyboardInterrupt
        rename(made, place)

    rename = pathlib.Path.rename
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "rename", crash)
        patch.setattr(shutil, "rmtree", lambda *args, **more: None)
        with pytest.raises(KeyboardInterrupt):
            store.write(tmp_path / "best", {}, "new")
    assert not (tmp_path / "best").exists()
    assert len(list(tmp_path.iterdir())) == 2
    store.mend(tmp_path / "best")
    assert store.read(tmp_path / "best")[1] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_folder_that_cannot_be_replaced_is_put_back(tmp_path, monkeypatch):
    store.write(tmp_path / "best", {}, "old")

    def refuse(made, place):
        if made.name.startswith(".best") and "old" not in made.name:
            raise OSError(28, "No space left on device")
        rename(made, place)

    rename = pathlib.Path.rename
    monkeypatch.setattr(pathlib.Path, "rename", refuse)
    with pytest.raises(OSError, match="No space"):
        store.write(tmp_path / "best", {}, "new")
    assert store.read(tmp_path / "best")[1] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_disk_that_is_full_does_not_end_the_run(run_config, monkeypatch, caplog):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write", full)
    folder, _, server = run(run_config)
    assert "round 2 has no checkpoint: [Errno 28] No space left" in caplog.text
    assert "the node's state of round 2 is not kept" in caplog.text
    assert len(server.folder.rows) == 3
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_a_disk_that_has_no_room_for_the_best_round_does_not_end_the_run(
    run_config, monkeypatch, caplog
):
    """Neither safetensors nor tokenizers raise an OSError then."""
    write, (free, hard) = best.write, resource.getrlimit(resource.RLIMIT_FSIZE)

    def without_room(*args):
        resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
        try:
            write(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))

    monkeypatch.setattr(best, "write", without_room)
    folder, _, server = run(run_config)
    assert "the best round is not kept" in caplog.text
    assert server.checkpointer.best is None
    assert not list(folder.glob("*best*"))
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_a_line_that_a_crash_left_unfinished_is_cut_off(tmp_path):
    folder = RunFolder(Settings(), 1, tmp_path, [{"round": 0}])
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "memb')
    del folder  # and with it the lock
    folder = RunFolder(Settings(), 2, tmp_path, [{"round": 0}])
    lines = (folder.path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["run"] for line in lines] == [1, 2]
