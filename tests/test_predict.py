"""``ilora predict``: on exported adapters, merged models and runs, for every task."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.tasks import sources
from tests.finished import Finished, ilora


def exported(finished: Finished, folder: Path) -> dict[str, Path]:
    """What predictions can be made with."""
    for name, words in (("adapter", []), ("merged", ["--merge"])):
        result = ilora("export", finished.folder, "--out", folder / name, *words)
        assert result.exit_code == 0, result.output
    names = ("adapter", "merged")
    return {name: folder / name for name in names} | {"run": finished.folder}


def objects(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_texts(made, tmp_path):
    """The probabilities are those of the model that the run has measured."""
    finished = made["bert"]
    texts = finished.server.test.tokenizer
    given = [
        json.loads(line)["text"]
        for line in (Path(finished.config["dataset"]) / "test.jsonl")
        .read_text()
        .splitlines()
    ]
    length = finished.config["max-length"]
    batch = texts(
        given, truncation=True, max_length=length, padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = finished.server.backbone.forward(dict(batch)).logits.softmax(dim=1)
    labels = finished.server.labels
    for name, folder in exported(finished, tmp_path).items():
        found = objects(
            ilora("predict", folder, *given, "--json", "--top", 99, "--batch-size", 7)
        )
        assert [one["input"] for one in found] == [{"text": text} for text in given]
        for one, row in zip(found, expected, strict=True):
            chances = {said["label"]: said["probability"] for said in one["labels"]}
            assert set(chances) == set(labels)
            values = [chances[label] for label in labels]
            torch.testing.assert_close(torch.tensor(values), row, atol=1e-5, rtol=1e-4)
            assert sorted(values, reverse=True) == list(chances.values()), name


def test_lines_of_stdin(made):
    words = ["predict", str(made["bert"].folder), "-", "--json", "--top", "1"]
    given = "what is my balance\n\n  \nünïcode -\n--top\nlast, without an end"
    found = objects(CliRunner().invoke(app, words, input=given))
    texts = [one["input"]["text"] for one in found]
    assert texts == [line for line in given.split("\n") if line.strip()]
    result = CliRunner().invoke(app, words, input="\n")
    assert result.exit_code == 2
    assert "expected texts or images" in result.output


def test_a_run_goes_by_a_beginning_of_its_id(made, tmp_path, monkeypatch):
    runs = tmp_path / ".ilora" / "runs"
    for name in ("one-1", "two-1", "two-2"):
        shutil.copytree(made["bert"].folder, runs / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for words in (
        ["predict", "a text"], ["export", "--out", tmp_path / "out"], ["report"],
        ["runs", "show"],
    ):  # fmt: skip
        at = 2 if words[0] == "runs" else 1

        def call(run: str, words: list = words, at: int = at) -> Any:
            return ilora(*words[:at], run, *words[at:])

        assert call("on").exit_code == 0, words
        for run, message in (
            ("two", "'two' is the beginning of two-1, two-2"),
            ("three", "there is no run 'three' in "),
            ("", "there is no run '' in "),
        ):
            result = call(run)
            assert result.exit_code == 2, words
            assert message in result.output
            assert not result.stdout


def test_a_part_of_a_run_names_the_run(made):
    run = made["bert"].folder
    for part in (run / "adapter", run / "best" / "adapter", run / "best"):
        assert f"{part} is a part of a run: expected {run} " in failure(part, "text")


def test_what_people_read(made):
    folder, labels = made["bert"].folder, made["bert"].server.labels
    result = ilora("predict", folder, "what is my balance", "--top", 2)
    lines = [line.rsplit(None, 1) for line in result.stdout.splitlines()]
    assert len(lines) == 2
    assert all(name in labels and 0 < float(value) < 1 for name, value in lines)
    result = ilora("predict", folder, "one", "two", "--round", "best", "--top", 1)
    lines = result.stdout.splitlines()
    assert [lines[0], lines[2]] == ["one", "two"]
    assert all(line.startswith("  ") for line in (lines[1], lines[3]))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_files(made, tmp_path, suffix):
    rows = [
        {"id": 1, "text": 'with "quotes", commas\nand lines'},
        {"id": 2, "text": "ünïcode"},
    ]
    file = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, ["id", "text"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = [json.dumps(row) for row in rows]
        file.write_text("\n\n".join(lines), encoding="utf-8")
    found = objects(ilora("predict", made["bert"].folder, "--file", file, "--top", 1))
    assert [one["input"]["text"] for one in found] == [row["text"] for row in rows]
    direct = objects(
        ilora("predict", made["bert"].folder, rows[1]["text"], "--json", "--top", 1)
    )
    (one,), (other,) = found[1]["labels"], direct[0]["labels"]
    assert one["label"] == other["label"]
    assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_images(made, tmp_path):
    finished = made["vit"]
    data = sources._opened(finished.config["dataset"], "", 0)["test"]
    names = []
    for number in range(3):
        names.append(f"{number}.png")
        data[number]["img"].save(tmp_path / names[-1])
    lines = "".join(json.dumps({"img": name}) + "\n" for name in names)
    (tmp_path / "images.jsonl").write_text(lines)
    encoded = finished.server.test
    images = [{"bytes": None, "path": str(tmp_path / name)} for name in names]
    batch = type(encoded)(images, [0] * 3, encoded.processor, False, "here").batch(
        [0, 1, 2]
    )
    with torch.inference_mode():
        expected = finished.server.backbone.forward(batch).logits.softmax(dim=1)
    for folder in exported(finished, tmp_path / "out").values():
        files = [tmp_path / name for name in names]
        for found in (
            objects(ilora("predict", folder, *files, "--json", "--top", 4)),
            objects(
                ilora(
                    "predict", folder, "--file", tmp_path / "images.jsonl", "--top", 4
                )
            ),
        ):
            for one, row in zip(found, expected, strict=True):
                chances = {s["label"]: s["probability"] for s in one["labels"]}
                values = [chances[label] for label in finished.server.labels]
                torch.testing.assert_close(
                    torch.tensor(values), row, atol=1e-5, rtol=1e-4
                )
    (tmp_path / "torn.png").write_bytes(b"no image")
    for name in ("torn.png", "absent.png"):
        result = ilora("predict", finished.folder, tmp_path / name)
        assert result.exit_code == 2
        assert name in result.output
        assert "cannot be read" in result.output


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_completions(made, tmp_path, name):
    """Greedy ones, the same alone and beside longer prompts."""
    finished = made[name]
    backbone, tokenizer = finished.server.backbone, finished.server.test.tokenizer
    texts = ["pay", "what is the weather like in the city of boston today"]
    expected = []
    for text in texts:
        ids = torch.tensor([tokenizer(text + "\n")["input_ids"]])
        written = backbone.generate(ids, torch.ones_like(ids), 6)
        expected.append(
            tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
        )
    for folder in exported(finished, tmp_path).values():
        words = ["predict", folder, *texts, "--max-new-tokens", 6]
        found = objects(ilora(*words, "--json"))
        assert [one["completion"] for one in found] == expected
    long = "word " * 500
    assert ilora("predict", finished.folder, long, "--max-new-tokens", 2).exit_code == 0


def test_what_a_language_model_cannot_go_on_from(made):
    run = made["gpt2"].folder
    said = failure(run, "one", "", "three")
    assert "row 2 of 3, {'text': ''}: expected a text" in said
    config = made["gpt2"].server.backbone.model.config
    most = config.max_position_embeddings
    said = failure(run, "one", "--max-new-tokens", most + 1)
    assert f"--max-new-tokens {most + 1}: expected at most {most}" in said
    for number in (most, most - 3):
        words = ["--max-new-tokens", number, "--json"]
        (found,) = objects(ilora("predict", run, "word " * 99, *words))
        assert found["completion"]


def failure(*words: object) -> str:
    result = ilora("predict", *words)
    assert result.exit_code == 2
    assert not result.stdout
    return result.output


def test_what_it_cannot_do(made, tmp_path):
    run = made["bert"].folder
    assert "expected a run folder" in failure(tmp_path, "text")
    assert "expected texts or images, or --file" in failure(run)
    assert "and not both" in failure(run, "text", "--file", tmp_path / "x.csv")
    assert "expected a .csv or .jsonl file" in failure(run, "--file", "x.txt")
    assert "cannot be read" in failure(run, "--file", tmp_path / "absent.csv")
    for name, text, message in (
        ("none.csv", "text\n", "it has no rows"),
        ("column.csv", "body\nhello\n", "line 2: column text holds None"),
        ("short.csv", "id,text\n1,a\n2\n", "line 3: column text holds None"),
        ("array.jsonl", '{"text": "a"}\n[1]\n', "line 2: expected an object"),
        ("torn.jsonl", '{"text": "a"}\n{"text\n', "line 2: "),
        ("type.jsonl", '{"text": ["a"]}\n', "line 1: column text holds ['a']"),
        ("latin.csv", "text\n\xe9\n", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
        assert message in failure(run, "--file", tmp_path / name)


def test_pairs_come_two_by_two(made, tmp_path):
    out = tmp_path / "pairs"
    ilora("export", made["bert"].folder, "--out", out)
    facts = json.loads((out / "ilora.json").read_text())
    (out / "ilora.json").write_text(json.dumps(facts | {"columns": "first,second"}))
    assert "3 given: expected 2 texts at a time (first, second)" in failure(
        out, "a", "b", "c"
    )
    found = objects(ilora("predict", out, "a", "b", "c", "d", "--json"))
    assert found[1]["input"] == {"first": "c", "second": "d"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2; this version reads 1"),
        ({"task": "audio"}, "task = 'audio': expected one of"),
        ({"labels": [1, 2]}, "labels = (1, 2)"),
        ({"max_length": "64"}, "max_length = '64'"),
        ({"more": 1}, "unexpected keyword"),
    ],
)
def test_facts_that_are_not_what_was_written(made, tmp_path, changes, message):
    out = tmp_path / "adapter"
    ilora("export", made["bert"].folder, "--out", out)
    facts = json.loads((out / "ilora.json").read_text())
    (out / "ilora.json").write_text(json.dumps(facts | changes))
    assert message in failure(out, "text")


def test_folders_that_are_not_whole(made, tmp_path):
    out = tmp_path / "adapter"
    ilora("export", made["bert"].folder, "--out", out)
    assert "is no run, and has one" in failure(out, "text", "--round", "best")
    facts = json.loads((out / "ilora.json").read_text())
    (out / "ilora.json").write_text(json.dumps(facts | {"base": "/no/such/folder"}))
    assert "there is no such folder" in failure(out, "text")
