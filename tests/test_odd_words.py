"""What a user or a foreign file can say that no command expects: a sentence each."""

import json

import pytest
from datasets import Dataset
from typer.testing import CliRunner

from ilora_app.check import settle
from ilora_app.cli import app
from ilora_app.cli.command import Command
from ilora_app.compare.presets import read_preset
from ilora_app.compare.request import FILE, Request, RequestError
from ilora_app.doctor.data import _files
from ilora_app.doctor.finding import OK, PROBLEM
from ilora_app.export.places import ReleaseError
from ilora_app.predict.inputs import of_file
from ilora_app.runs import history, payloads
from ilora_app.serve.asked import AskedError, Limits, read
from ilora_app.settings import parsing
from ilora_app.tasks import folders, splits
from ilora_app.tasks.places import DataError

LONG = "./" + 300 * "a"


def ilora(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--dataset", LONG),
        ("check", LONG),
        ("predict", LONG, "a text"),
        ("export", LONG, "--out", "adapter"),
        ("runs", "show", LONG),
        ("runs", "erase", LONG, "--yes"),
        ("report", LONG),
        ("serve", LONG),
        ("audit", LONG),
    ],
    ids=lambda words: " ".join(words[:2])[:12],
)
def test_a_name_that_is_too_long_for_a_path(words, tmp_path, monkeypatch):
    monkeypatch.setenv("ILORA_RUNS", str(tmp_path))
    found = ilora(*words)
    assert found.exit_code == 2
    assert "Traceback" not in found.output
    assert found.exception is None or isinstance(found.exception, SystemExit)
    assert "aaaa" in found.output
    assert "too long" in found.output.lower()


def test_other_errors_of_the_system_are_not_hidden():
    def body() -> None:
        raise FileNotFoundError(2, "not there", "a-file")

    with pytest.raises(FileNotFoundError):
        Command("x", callback=body).main([], standalone_mode=False)


def test_a_table_is_looked_at_once_however_many_columns_it_has(tmp_path, monkeypatch):
    rows = Dataset.from_dict({f"c{k}": ["a", "b"] for k in range(40)})
    asked = []
    whole = Dataset.__getitem__
    note = lambda self, key: (asked.append(key), whole(self, key))[1]  # noqa: E731
    monkeypatch.setattr(Dataset, "__getitem__", note)
    assert folders.typed(rows, tmp_path).column_names == rows.column_names
    assert len(asked) <= 1
    asked.clear()
    assert settle._longest_texts(rows, "c0") == "c1"
    assert len(asked) <= 1


def test_a_node_whose_data_is_one_file_is_well(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("text,label\na,b\n")
    assert _files(file).state == OK
    assert _files(tmp_path).state == OK
    assert _files(tmp_path / "none").state == PROBLEM


def test_a_label_that_is_a_list():
    with pytest.raises(DataError, match="row 1 holds a list"):
        splits.held_out(["x", ["y"]], 2, 0.5, 0)


def test_a_label_of_thirty_digits_stays_as_it_is():
    rows = Dataset.from_dict({"label": [1e30, 2.0]})
    assert splits.whole_numbers(rows, "label")["label"][:] == [1e30, 2.0]
    rows = Dataset.from_dict({"label": [1.0, 3.0], "text": ["a", "b"]})
    assert splits.whole_numbers(rows, "label")["label"][:] == [1, 3]


@pytest.mark.parametrize(
    ("key", "value"), [("batch-size", 10**20), ("num-server-rounds", 2**63)]
)
def test_a_whole_number_that_no_message_holds(key, value):
    with pytest.raises(parsing.ConfigError, match=f"{key} = .* 64 bits"):
        parsing.load({key: value})


@pytest.mark.parametrize("scaling", [1e308, 1e-9])
def test_a_scaling_that_no_adapter_can_have(scaling):
    with pytest.raises(parsing.ConfigError, match="lora-scaling"):
        parsing.load({"lora-scaling": scaling})


@pytest.mark.parametrize(
    "found",
    [
        {"seeds": "3"},
        {"strategies": 5},
        {"lr": 3},
        {"grid": 5},
        {"set": [1]},
        {"clients": 1.5},
    ],
    ids=str,
)
def test_a_comparison_of_another_kind_of_values(found, tmp_path):
    Request().save(tmp_path)
    kept = json.loads((tmp_path / FILE).read_text())
    assert Request.load(tmp_path) == Request()
    (tmp_path / FILE).write_text(json.dumps(kept | found))
    with pytest.raises(RequestError, match=f"cannot be read .{next(iter(found))} is"):
        Request.load(tmp_path)


def test_a_preset_for_more_nodes_than_there_are_numbers(tmp_path):
    file = tmp_path / "preset.toml"
    file.write_text(f"# num-supernodes={'9' * 5000}\nseed = 1\n")
    assert read_preset(file)[0].clients is None
    file.write_text("# num-supernodes=12\nseed = 1\n")
    assert read_preset(file)[0].clients == 12


def test_events_of_another_kind():
    events = [{"event": "payloads", "round": 1, "sent": ["a"], "received": 3}]
    [row] = payloads.count(events)
    assert (row["round"], row["sent"], row["received"]) == (1, 0, 0)


@pytest.mark.parametrize("line", ['{"text": ""}', '{"text": "a \\ud800"}'])
def test_a_row_without_a_text_is_named(line, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "right"}\n' + line + "\n")
    with pytest.raises(ReleaseError, match="line 2: column text holds"):
        of_file(file, ("text",))


def test_a_key_that_is_half_a_character():
    with pytest.raises(AskedError, match="unknown") as found:
        read(
            b'{"inputs":["a"],"\\ud800":1}', "text-classification", ("text",), Limits()
        )
    str(found.value).encode()


def test_escapes_of_a_foreign_folder_do_not_reach_the_terminal(tmp_path):
    folder = tmp_path / "20260101-000000-1"
    folder.mkdir()
    evil = "il\\u001b]0;pwned\\u0007\\u001b[2J\\nid        fake"
    keys = (*history._OWN_KEYS, "model")
    text = "".join(f'{key} = "{evil}"\n' for key in dict.fromkeys(keys))
    (folder / "config.toml").write_text(text)
    (folder / "events.jsonl").write_text('{"event": "started", "rounds": 3}\n')
    for words in (("list",), ("show", folder.name), ("rm", folder.name)):
        found = ilora("runs", *words, "--root", str(tmp_path))
        assert "pwned" in found.output, words
        assert "\x1b" not in found.output
        assert "\nid        fake" not in found.output
