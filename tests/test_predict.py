"""``ilora predict``: on exported adapters, merged models and runs, for every task."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.tasks import sources
from tests.finished import Finished, ilora, objects


def exported(finished: Finished, folder: Path) -> dict[str, Path]:
    """What predictions can be made with."""
    for name, words in (("adapter", []), ("merged", ["--merge"])):
        result = ilora("export", finished.folder, "--out", folder / name, *words)
        assert result.exit_code == 0, result.output
    names = ("adapter", "merged")
    return {name: folder / name for name in names} | {"run": finished.folder}


@pytest.mark.parametrize(
    ("name", "sign", "encoding"),
    [
        ("a.csv", ";", "utf-8"),
        ("a.csv", ",", "latin-1"),
        ("a.tsv", "\t", "utf-8"),
        ("A.CSV", ",", "utf-16"),
    ],
)
def test_a_file_is_read_as_training_reads_one(made, tmp_path, name, sign, encoding):
    rows = [["id", "text"], ["1", "caf\xe9, please"], ["2", "hello"]]
    with (tmp_path / name).open("w", newline="", encoding=encoding) as opened:
        csv.writer(opened, delimiter=sign).writerows(rows)
    found = objects(
        ilora("predict", made["bert"].folder, "--file", tmp_path / name, "--top", 1)
    )
    assert [one["input"]["text"] for one in found] == ["caf\xe9, please", "hello"]


def test_texts(made, tmp_path):
    """The probabilities are those of the model that the run has measured."""
    finished = made["bert"]
    texts = finished.server.prepared.test.tokenizer
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
        logits = finished.server.prepared.backbone.forward(dict(batch)).logits
    expected = logits.softmax(dim=1)
    labels = finished.server.prepared.labels
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
    assert "expected texts or files" in result.output


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


ONE_PROCESS = """
import sys
from ilora_app.cli import app
for folder in sys.argv[1:]:
    app(["predict", folder, "a text"], standalone_mode=False)
    print("modules of", folder, *sys.modules, file=sys.stderr)
"""


@pytest.mark.slow
def test_what_a_prediction_of_a_text_does_not_need_is_not_imported(made, tmp_path):
    """Neither data sets nor Flower: each takes as long as the model itself."""
    folders = exported(made["bert"], tmp_path)
    words = [sys.executable, "-c", ONE_PROCESS, folders["adapter"], folders["run"]]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 2 * 3
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "peft" in loaded
    unneeded = {"datasets", "flwr", "flwr_datasets", "ray", "pandas", "sklearn"}
    assert not loaded & unneeded


def test_what_people_read(made):
    folder, labels = made["bert"].folder, made["bert"].server.prepared.labels
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
    data = sources._opened(finished.config["dataset"], "")["test"]
    names = []
    for number in range(3):
        names.append(f"{number}.png")
        data[number]["img"].save(tmp_path / names[-1])
    lines = "".join(json.dumps({"img": name}) + "\n" for name in names)
    (tmp_path / "images.jsonl").write_text(lines)
    encoded = finished.server.prepared.test
    images = [{"bytes": None, "path": str(tmp_path / name)} for name in names]
    batch = type(encoded)(images, [0] * 3, encoded.processor, False, "here").batch(
        [0, 1, 2]
    )
    with torch.inference_mode():
        logits = finished.server.prepared.backbone.forward(batch).logits
    expected = logits.softmax(dim=1)
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
                values = [chances[label] for label in finished.server.prepared.labels]
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
    prepared = finished.server.prepared
    backbone, tokenizer = prepared.backbone, prepared.test.tokenizer
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
