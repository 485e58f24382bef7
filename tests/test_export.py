"""``ilora export``: what it writes, in plain transformers and PEFT."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from tests.finished import RUNS, Finished, ilora
from tests.test_app import run as run_app


def loaded(folder: Path, finished: Finished) -> Any:
    """The model by the lines that the card gives, run as they stand."""
    (lines,) = re.findall(
        r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S
    )
    lines = lines.replace("this/folder", str(folder))
    lines = lines.replace("PATH/model", finished.config["model"])
    names: dict[str, Any] = {}
    exec(lines, names)
    if finished.server.prepared.labels:
        assert names["labels"] == list(finished.server.prepared.labels)
    return names["model"]


def check(folder: Path, finished: Finished, atol: float = 1e-5) -> Any:
    model = loaded(folder, finished)
    extra = {}
    if finished.config.get("image-size"):
        extra["interpolate_pos_encoding"] = True
    with torch.inference_mode():
        logits = model(**finished.batch, **extra).logits
    torch.testing.assert_close(logits, finished.logits, atol=atol, rtol=1e-4)
    return model


@pytest.mark.parametrize("name", [name for name in RUNS if name != "whole"])
def test_adapter_truncated_adapter_and_merged_model_are_the_run_s(made, name, tmp_path):
    finished = made[name]
    labels = dict(enumerate(finished.server.prepared.labels))
    result = ilora("export", finished.folder, "--out", tmp_path / "adapter")
    assert result.exit_code == 0, result.output
    check(tmp_path / "adapter", finished)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    full = config["r"]
    assert f"an adapter of rank {full}" in result.output

    result = ilora(
        "export", finished.folder, "--rank", full, "--out", tmp_path / "same"
    )
    assert result.exit_code == 0, result.output
    check(tmp_path / "same", finished, atol=1e-4)
    result = ilora("export", finished.folder, "--rank", 1, "--out", tmp_path / "one")
    assert re.search(r"it holds \d+\.\d\d % of the global update", result.output)
    small = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    assert (small["r"], small["lora_alpha"]) == (1, config["lora_alpha"] / full)
    with pytest.raises(AssertionError):
        check(tmp_path / "one", finished)

    result = ilora("export", finished.folder, "--merge", "--out", tmp_path / "merged")
    assert result.exit_code == 0, result.output
    check(tmp_path / "merged", finished)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    if labels:
        for folder in ("adapter", "one", "merged"):
            assert AutoConfig.from_pretrained(tmp_path / folder).id2label == labels


def test_tied_embeddings_stay_one_unless_one_of_them_was_trained(made, tmp_path):
    for name, tied in (("llama", True), ("gpt2", False)):
        out = tmp_path / name
        assert (
            ilora("export", made[name].folder, "--merge", "--out", out).exit_code == 0
        )
        assert (
            json.loads((out / "config.json").read_text())["tie_word_embeddings"] == tied
        )
        heads = [
            key for key in load_file(out / "model.safetensors") if "lm_head" in key
        ]
        assert len(heads) == (0 if tied else 1)


def test_a_model_trained_whole_is_exported_whole(made, tmp_path):
    finished = made["whole"]
    out = tmp_path / "merged"
    assert ilora("export", finished.folder, "--merge", "--out", out).exit_code == 0
    check(out, finished)
    result = ilora("export", finished.folder, "--out", tmp_path / "adapter")
    assert result.exit_code == 2
    assert "there is no adapter: expected --merge" in result.output
    result = ilora(
        "export", finished.folder, "--merge", "--measure", "--out", tmp_path / "x"
    )
    assert (result.exit_code, (tmp_path / "x").exists()) == (2, False)


def test_the_best_round(made, tmp_path):
    finished = made["bert"]
    best = json.loads((finished.folder / "best" / "best.json").read_text())
    out = tmp_path / "best"
    result = ilora("export", finished.folder, "--round", "best", "--out", out)
    assert result.exit_code == 0
    assert f"the model of round {best['round']} of 2" in (out / "README.md").read_text()
    wanted, found = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (finished.folder / "best" / "adapter", out)
    )
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_what_is_exported_can_be_measured(made, tmp_path):
    finished = made["bert"]
    out = tmp_path / "adapter"
    result = ilora("export", finished.folder, "--measure", "--out", out)
    assert result.exit_code == 0
    row = finished.server.folder.rows[-1]
    assert f"accuracy {row['accuracy']:.4f}" in result.output
    card = (out / "README.md").read_text()
    assert "Of what lies in this folder, on the test split" in card
    assert f"| loss | {row['loss']:.4f} |" in card


@pytest.mark.parametrize("merge", [False, True])
def test_a_script_reads_what_was_made(made, tmp_path, merge):
    out = tmp_path / "out"
    words = ["--merge"] if merge else ["--rank", 2, "--measure"]
    result = ilora("export", made["bert"].folder, "--out", out, "--json", *words)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["folder"], said["round"], said["pushed"]) == (str(out), 2, None)
    if merge:
        kept = (said["kind"], said["rank"], said["energy"], said["measured"])
        assert kept == ("model", None, 1.0, {})
        return
    assert (said["kind"], said["rank"]) == ("adapter", 2)
    card = (out / "README.md").read_text()
    assert 0 < said["energy"] < 1
    assert f"{100 * said['energy']:.2f} %" in card
    assert f"| loss | {said['measured']['loss']:.4f} |" in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rank", 99], "--rank 99: expected 1 to"),
        (["--rank", 2, "--merge"], "--rank and --merge: expected one of them"),
        (["--public"], "--public: expected with --push"),
        (["--push", "name"], "--push 'name': expected OWNER/NAME"),
    ],
)
def test_requests_that_cannot_be_met(made, tmp_path, words, message):
    result = ilora("export", made["bert"].folder, "--out", tmp_path / "x", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_it_never_writes_over_anything(made, tmp_path):
    (tmp_path / "mine").write_text("kept")
    for out in (tmp_path, tmp_path / "mine"):
        result = ilora("export", made["bert"].folder, "--out", out)
        assert result.exit_code == 2
        assert "expected a new or empty folder" in result.output
    assert (tmp_path / "mine").read_text() == "kept"
    (tmp_path / "empty").mkdir()
    out = tmp_path / "empty"
    assert ilora("export", made["bert"].folder, "--out", out).exit_code == 0


def test_what_is_no_whole_run(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    def failure(run: object, *words: object) -> str:
        result = ilora("export", run, "--out", tmp_path / "out", *words)
        assert result.exit_code == 2
        assert not (tmp_path / "out").exists()
        return result.output

    assert "there is no run '2026'" in failure("2026")
    assert "expected a run folder" in failure(tmp_path)
    run = tmp_path / ".ilora" / "runs" / "a-run"
    shutil.copytree(made["bert"].folder, run)
    assert ilora("export", "a-run", "--out", tmp_path / "by-name").exit_code == 0
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"torn")
    assert "adapter_model.safetensors cannot be read" in failure("a-run")
    (run / "adapter" / "config.json").unlink()
    assert "which names the classes, cannot be read" in failure("a-run")
    shutil.rmtree(run / "adapter")
    assert "holds no model: it has not ended" in failure("a-run")
    shutil.rmtree(run / "best")
    assert "no round was the best yet" in failure("a-run", "--round", "best")
    (run / "config.toml").write_text("strategy = ")
    assert "config.toml cannot be read" in failure("a-run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "local"}, "under local clients keep models of their own"),
        ({"save-adapters": False}, "it was run with save-adapters = false"),
    ],
)
def test_runs_without_a_global_model(run_config, tmp_path, changes, message):
    folder, _, _ = run_app(run_config | {"num-server-rounds": 1} | changes)
    result = ilora("export", folder, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.output
