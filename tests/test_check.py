"""``ilora check``, ``ilora init`` and a run config of one's own, on real files."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ilora_app.check import project
from ilora_app.cli import app
from ilora_app.cli.run_request import Request, RequestError
from ilora_app.launch.superlink import BIN
from ilora_app.settings import Settings, parsing
from tests import own_files, tiny_models


def checked(*words: object, code: int = 0) -> dict:
    result = CliRunner().invoke(app, ["check", *map(str, words), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_one_csv_is_described_and_measured_and_the_command_is_said(
    tmp_path, tiny_model
):
    rows = own_files.tickets(120)
    rows += [{"Text": f"nobody said what {i}", "Label": ""} for i in range(7)]
    rows += rows[:10]
    file = own_files.write(tmp_path, "semicolon", rows)
    words = ("--model", tiny_model, "--set", "max-length=5", "--clients", 3)
    seen = checked(file, *words)
    assert seen["read"] == {"text-columns": "Text", "label-column": "Label"}
    train, test = seen["splits"]["train"], seen["splits"]["test"]
    assert train["rows"] + test["rows"] == 130
    counts = [dict(map(tuple, one["classes"])) for one in (train, test)]
    assert sum(count["praise"] for count in counts) == 26
    assert sum(share["rows"] for share in seen["deal"]) == train["rows"]
    assert [share["rank"] for share in seen["deal"]] == [2, 4, 8]
    assert seen["lengths"]["unit"] == "tokens"
    assert seen["lengths"]["cut"] == 1.0
    suggested = {one["key"]: one["value"] for one in seen["suggestions"]}
    assert suggested == {"drop-unlabelled": True, "max-length": 16}
    majority, texts, frozen = (score["accuracy"] for score in seen["scores"])
    assert majority == pytest.approx(max(counts[1].values()) / test["rows"])
    assert texts > 0.9 > majority
    assert frozen > majority
    notes = "\n".join(seen["notes"])
    for part in (
        "Windows-1252",
        "rows are held out",
        "have no class",
        "trained on too",
    ):
        assert part in notes
    assert seen["command"].endswith(
        "--clients 3 --set drop-unlabelled=true --set max-length=16"
    )


def test_columns_of_unusual_names_are_found_by_what_they_hold(tmp_path):
    rows = [
        {"nr": i, "what": row["Text"], "queue": row["Label"]}
        for i, row in enumerate(own_files.tickets(60))
    ]
    seen = checked(own_files.write(tmp_path, "parquet", rows), "--no-probe")
    suggested = {one["key"]: one["value"] for one in seen["suggestions"]}
    assert suggested == {
        "label-column": "queue",
        "text-columns": "what",
        "min-partition-size": 1,
    }


def test_too_few_rows_for_the_deal_and_a_task_by_its_columns(tmp_path):
    few = own_files.write(tmp_path, "csv", own_files.tickets(20))
    seen = checked(few, "--no-probe", "--clients", 8)
    assert [one["key"] for one in seen["suggestions"]] == ["partitioner"]
    assert {share["rows"] for share in seen["deal"]} == {2}
    assert any(note.startswith("min-partition-size = 10: ") for note in seen["notes"])
    answers = [{"Question": f"{i} + 1?", "Answer": str(i + 1)} for i in range(40)]
    seen = checked(own_files.write(tmp_path, "jsonl", answers), "--no-probe")
    suggested = {one["key"]: one["value"] for one in seen["suggestions"]}
    assert suggested["task"] == "causal-lm"
    assert "partitioner" not in suggested, "auto deals answers out evenly"
    assert sum(share["rows"] for share in seen["deal"]) == 32
    assert sum(share["rows"] for share in seen["deal"]) == 32


def test_a_torn_image_is_named_and_would_end_the_run(tmp_path):
    place = own_files.images_by_class(tmp_path / "pets")
    seen = checked(place, "--no-probe", code=1)
    assert "1 of " in seen["problems"][0]
    assert "00.png" in seen["problems"][0]
    whole = sorted(place.rglob("[1-9]?.png"))
    rows = [{"img": f.read_bytes(), "label": f.parent.name} for f in whole]
    bare = checked(own_files.write(tmp_path, "parquet", rows), "--no-probe")
    assert bare["suggestions"][0]["value"] == "image-classification"
    assert bare["splits"]["test"]["rows"] == 4
    assert {"key": "task", "value": "image-classification"}.items() <= seen[
        "suggestions"
    ][0].items()
    result = CliRunner().invoke(app, ["check", str(place), "--no-probe"])
    assert "would end the run" in result.output
    assert "to run it" not in result.output


def test_what_is_said_of_gaps_and_repeated_rows(tmp_path):
    rows = [*own_files.tickets(), {"Text": "nobody said", "Label": ""}]
    file = own_files.write(tmp_path, "csv", [*rows, rows[0]])
    words = ["--no-probe", "--set", "test-fraction=0.01"]
    said = CliRunner().invoke(app, ["check", str(file), *words]).output
    assert "drop-unlabelled = true: 1 row" in said
    assert "  1 row repeats an earlier one" in said


def test_a_length_that_the_model_has_no_positions_for(tmp_path):
    made = tiny_models.make("roberta", tmp_path / "roberta")
    file = own_files.write(tmp_path, "csv", own_files.tickets())
    words = (file, "--model", made["model"], "--no-probe")
    seen = checked(*words)
    assert {"key": "max-length", "value": 37, "why": "the model has 37 positions"} in (
        seen["suggestions"]
    )
    assert "--set max-length=37" in seen["command"]
    fits = checked(*words, "--set", "max-length=24")
    assert "max-length" not in [one["key"] for one in fits["suggestions"]]


def test_recordings_without_their_library_are_one_problem(tmp_path, monkeypatch):
    for name in ("low", "high"):
        (tmp_path / name).mkdir()
        for number in range(20):
            (tmp_path / name / f"{number}.wav").write_bytes(b"RIFF")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    seen = checked(tmp_path, "--no-probe", code=1)
    (problem,) = seen["problems"]
    assert "pip install soundfile" in problem


def test_a_project_has_a_config_that_gives_what_was_found(tmp_path, tiny_model):
    own_files.write(tmp_path, "semicolon", own_files.tickets())
    name = tmp_path / "mine"
    file = tmp_path / "tickets.csv"
    words = ["init", str(name), "--dataset", str(file), "--model", tiny_model]
    result = CliRunner().invoke(app, [*words, "--clients", "3"])
    assert result.exit_code == 0, result.output
    config = name / project.CONFIG
    values = tomllib.loads(config.read_text())
    assert values["dataset"] == "../tickets.csv"
    assert (values["text-columns"], values["label-column"]) == ("Text", "Label")
    defaults = parsing.dump(Settings())
    differ = {key for key, value in values.items() if value != defaults[key]}
    found = {"text-columns", "label-column", "partitioner"}  # what auto came to
    assert differ == {"dataset", "model", *found}
    assert values["partitioner"] == "dirichlet"
    settings, federation = Request(str(config)).resolve()
    assert settings["dataset"] == str(file)
    assert federation.startswith("num-supernodes=3 ")
    assert "ilora predict latest" in (name / project.README).read_text()
    assert CliRunner().invoke(app, words).exit_code == 2, "not over another's files"
    place = tmp_path / "bare one"
    bare = CliRunner().invoke(app, ["init", str(place)])
    assert bare.exit_code == 0, bare.output
    assert f"next: cd '{place}' && ilora check " in bare.output
    assert "not there yet" in (place / project.CONFIG).read_text()


def test_a_yaml_file_is_a_run_config_with_the_same_messages(tmp_path):
    own_files.write(tmp_path, "csv", own_files.tickets())
    mine = tmp_path / "mine.yaml"
    mine.write_text("# mine\ndataset: tickets.csv  # beside this file\nseed: 3\n")
    request = Request(str(mine), ("seed=4",))
    settings, _ = request.resolve()
    assert settings == {"dataset": str(tmp_path / "tickets.csv"), "seed": 4}
    assert any("rows are held out" in note for note in request.notes)
    mine.write_text("dataset: tickets.csv\nlabel-column: kind\nlearnin-rate: 1\n")
    with pytest.raises(RequestError) as caught:
        Request(str(mine)).resolve()
    assert [p.split(" = ")[0] for p in caught.value.problems] == [
        "learnin-rate",
        "label-column",
    ]
    gap = [{"Text": "nobody said", "Label": ""}]
    own_files.write(tmp_path, "tsv", own_files.tickets() + gap)
    mine.write_text("dataset: tickets.tsv\n")
    with pytest.raises(RequestError, match="drop-unlabelled = true leaves them out"):
        Request(str(mine)).resolve()
    for text in ("- a\n- b\n", "a: [", "just words"):
        mine.write_text(text)
        result = CliRunner().invoke(app, ["run", str(mine)])
        assert result.exit_code == 2
        assert f"{mine}: not YAML of keys and values: " in result.output
    both = CliRunner().invoke(app, ["run", "default", "--config", "default"])
    assert "CONFIG 'default' and --config 'default': expected one" in both.output


@pytest.mark.slow
def test_from_a_file_to_a_prediction(tmp_path, tiny_model, monkeypatch):
    """The three commands of the project's README, as processes."""
    monkeypatch.setenv("ILORA_RUNS", str(tmp_path / "runs"))
    own_files.write(tmp_path, "semicolon", own_files.tickets())

    def ilora(*words: str) -> str:
        place = tmp_path / "mine" if words[0] != "init" else tmp_path
        done = subprocess.run(
            [BIN / "ilora", *words], cwd=place, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    words = ("--dataset", "tickets.csv", "--model", tiny_model, "--clients", "2")
    ilora("init", "mine", *words)
    assert "to run it\n  ilora run config.toml" in ilora("check", "config.toml")
    keys = ("num-server-rounds=1", "local-steps=2", "report=false", "seed=1")
    sets = [word for key in keys for word in ("--set", key)]
    found = json.loads(ilora("run", "config.toml", *sets, "--json"))
    assert found["status"] == "finished"
    written = tomllib.loads((Path(found["folder"]) / "config.toml").read_text())
    assert (written["seed"], written["label-column"]) == (1, "Label")
    said = json.loads(ilora("predict", "latest", "a lovely crème brûlée", "--json"))
    names = {one["label"] for one in said["labels"]}
    assert names == {"defect", "delivery", "praise"}
