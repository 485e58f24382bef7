"""``ilora predict`` and ``ilora export`` on folders that are damaged."""

import json
import shutil
from pathlib import Path

import pytest

from tests.finished import ilora


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory) -> dict[str, Path]:
    """Folders that predictions can be made with, before anything is done to them."""
    place = tmp_path_factory.mktemp("whole")
    found = {"run": made["bert"].folder}
    for name, words in (("adapter", []), ("merged", ["--merge"])):
        found[name] = place / name
        result = ilora("export", found["run"], "--out", found[name], *words)
        assert result.exit_code == 0, result.output
    return found


def damaged(whole: Path, folder: Path, name: str, how: str) -> Path:
    """A copy of a folder in which one file is not what it was."""
    shutil.copytree(whole, folder)
    file = folder / name
    if how == "absent":
        file.unlink()
    else:
        data = file.read_bytes()
        texts = {"torn": data[: len(data) // 2], "empty": b"", "{}": b"{}", "[]": b"[]"}
        file.write_bytes(texts[how])
    return folder


def refused(*words: object) -> str:
    """What a command says of it, in one line and without a traceback."""
    result = ilora(*words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert not result.stdout
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


EXPORTED = [
    ("adapter", name, how)
    for name in ("adapter_config.json", "tokenizer_config.json")
    for how in ("absent", "torn", "empty", "{}", "[]")
] + [
    ("adapter", "tokenizer.json", "absent"),
    ("adapter", "tokenizer.json", "torn"),
    ("adapter", "adapter_model.safetensors", "absent"),
    ("adapter", "adapter_model.safetensors", "torn"),
    ("adapter", "config.json", "torn"),
    ("merged", "config.json", "absent"),
    ("merged", "config.json", "{}"),
    ("merged", "model.safetensors", "absent"),
    ("merged", "tokenizer.json", "torn"),
]


@pytest.mark.parametrize(("kind", "name", "how"), EXPORTED)
def test_a_prediction_names_the_file(whole, tmp_path, kind, name, how):
    folder = damaged(whole[kind], tmp_path / "folder", name, how)
    said = refused("predict", folder, "a text")
    assert str(folder) in said
    assert name in said


@pytest.mark.parametrize("file", ["adapter_config.json", "tokenizer.json"])
def test_files_of_the_right_form_with_the_wrong_things_in_them(whole, tmp_path, file):
    folder = damaged(whole["adapter"], tmp_path / "folder", file, "{}")
    (folder / file).write_text('{"peft_type": "NONE", "what": 1}')
    said = refused("predict", folder, "a text")
    assert str(folder) in said
    assert "Error: " in said, "the kind of mistake, and not a bare key"


@pytest.mark.parametrize("words", [[], ["--merge"], ["--rank", "1"]])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("adapter/adapter_config.json", "torn"),
        ("adapter/adapter_config.json", "{}"),
        ("adapter/adapter_model.safetensors", "torn"),
        ("adapter/tokenizer_config.json", "absent"),
        ("adapter/config.json", "torn"),
    ],
)
def test_an_export_names_the_file_and_leaves_nothing(whole, tmp_path, name, how, words):
    folder = damaged(whole["run"], tmp_path / "run", name, how)
    said = refused("export", folder, "--out", tmp_path / "out", *words)
    assert str(folder) in said
    assert Path(name).name in said
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("text", ["{}", "", "[]", '{"round": null}', '{"round": "x"}'])
def test_a_best_round_without_its_number(whole, tmp_path, text):
    folder = shutil.copytree(whole["run"], tmp_path / "run")
    (folder / "best" / "best.json").write_text(text)
    out = tmp_path / "out"
    said = refused("export", folder, "--out", out, "--round", "best")
    assert "best.json cannot be read: " in said
    assert "best.json" in refused("predict", folder, "a text", "--round", "best")


def test_a_broken_line_of_events_costs_that_line_alone(whole, tmp_path):
    folder = shutil.copytree(whole["run"], tmp_path / "run")
    events = folder / "events.jsonl"
    kept = events.read_bytes()
    strange = [b"\xff\xfe", b"null", b"[]", b'{"event": "member"}', b'{"event": "mem']
    events.write_bytes(b"\n".join([*strange, kept]))
    result = ilora("export", folder, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    ranks = [json.loads(line) for line in kept.splitlines()]
    ranks = [event["rank"] for event in ranks if event["event"] == "member"]
    assert ranks
    assert f"{len(ranks)} clients of rank" in (tmp_path / "out/README.md").read_text()


def test_a_table_that_is_none(whole, tmp_path):
    folder = shutil.copytree(whole["run"], tmp_path / "run")
    for data in (b"round,loss\n\xff,1\n", b"round\n1,2,3\n", b"a\n1\n"):
        (folder / "metrics.csv").write_bytes(data)
        assert "metrics.csv cannot be read" in refused(
            "export", folder, "--out", tmp_path / "out"
        )
