"""What a hostile node, data set or folder has tried, played again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error, Message, MessageType

from ilora_app import wire
from ilora_app.runs.card import literal
from ilora_app.settings import Settings, parsing
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks.loading import load_pretrained
from ilora_app.tasks.models import ModelError
from tests.conftest import read_events
from tests.finished import ilora
from tests.local_run import metrics, run
from tests.test_faults import BAD


@pytest.mark.parametrize("on", ["evaluate", "train"])
def test_a_node_cannot_write_the_servers_test_accuracy(run_config, tmp_path, on):
    """Unasked test metrics are not read: table, best round and log are the server's."""
    record = wire.METRICS if on == "evaluate" else wire.EVALUATION
    sent = []

    def lie(reply: Message) -> Message:
        if reply.metadata.src_node_id == BAD and record in reply.content:
            kind = reply.metadata.message_type
            if kind == MessageType.EVALUATE or record == wire.EVALUATION:
                reply.content[record][wire.TEST_ACCURACY] = 1.0
                reply.content[record][wire.TEST_LOSS] = 0.0
                sent.append(kind)
        return reply

    run_config |= {"evaluate-on": on}
    honest, _, _ = run(run_config | {"output-dir": str(tmp_path / "honest")})
    folder, _, _ = run(run_config, tamper=lie)
    assert sent
    for column in ("accuracy", "loss"):
        assert list(metrics(folder)[column]) == list(metrics(honest)[column])
    best = [
        json.loads((f / "best" / "best.json").read_text()) for f in (folder, honest)
    ]
    assert best[0]["round"] == best[1]["round"]
    assert "test_accuracy" not in (folder / "events.jsonl").read_text()


def test_a_reason_with_line_ends_forges_no_line_of_the_log(run_config, caplog):
    forged = "no\nINFO:      round 1/2  accuracy 1.0000\x1b[2J\r\n\nERROR: all is lost"

    def lie(reply: Message) -> Message:
        kind = reply.metadata.message_type
        if reply.metadata.src_node_id != BAD or kind != MessageType.TRAIN:
            return reply
        error = Message(Error(code=0, reason=forged), reply_to=reply)
        error.metadata.__dict__["_src_node_id"] = BAD
        return error

    folder, _, _ = run(run_config, tamper=lie)
    for event in read_events(folder, "reply-left-out"):
        reason = event["reason"]
        assert reason.startswith("no; INFO:      round 1/2")
        assert reason.isprintable()
    said = [record.getMessage() for record in caplog.records]
    assert any("is left out: no; INFO" in text for text in said)
    assert all(text.isprintable() for text in said if "is left out" in text)


def test_losses_out_of_all_proportion_and_endless_records_are_left_out(run_config):
    def lie(reply: Message) -> Message:
        if reply.metadata.src_node_id == BAD and wire.METRICS in reply.content:
            found = reply.content[wire.METRICS]
            if reply.metadata.message_type == MessageType.TRAIN:
                found[wire.LOSS] = 1e30
            else:
                for number in range(1001):
                    found[f"key-{number}"] = 1.0
        return reply

    folder, _, _ = run(run_config, tamper=lie)
    reasons = {e["purpose"]: e["reason"] for e in read_events(folder, "reply-left-out")}
    assert "loss is 1e+30, expected at most 1e+06" in reasons["train"]
    assert "entries, expected at most 1000" in reasons["evaluate"]
    assert metrics(folder)["train_loss"].max() < 100


def test_an_empty_answer_to_the_first_question_ends_no_run(run_config):
    """The node is asked again, as one that was not there."""
    emptied = []

    def lie(reply: Message) -> Message:
        first = reply.metadata.message_type == MessageType.QUERY and not emptied
        if reply.metadata.src_node_id == BAD and first:
            emptied.append(reply)
            reply.__dict__["_content"] = None
        return reply

    folder, _, _ = run(run_config, tamper=lie)
    assert emptied
    assert list(metrics(folder)["clients"].iloc[1:]) == [3, 3]


def test_an_export_follows_no_links(made, tmp_path):
    secret = tmp_path / "key.pem"
    secret.write_text("a private key")
    stolen = tmp_path / "run"
    shutil.copytree(made["bert"].folder, stolen)
    (stolen / "adapter" / "notes.txt").symlink_to(secret)
    for words in ([], ["--merge"]):
        out = tmp_path / "out"
        result = ilora("export", stolen, "--out", out, *words)
        assert result.exit_code == 2
        assert "notes.txt: a link" in result.output
        assert not out.exists()


def test_code_in_a_folder_is_neither_run_nor_asked_about(made, tmp_path, monkeypatch):
    """Not even where somebody would answer yes."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    out = tmp_path / "model"
    assert ilora("export", made["bert"].folder, "--out", out, "--merge").exit_code == 0
    code = f"from pathlib import Path\nPath({str(tmp_path)!r}, 'ran').touch()\n"
    (out / "evil.py").write_text(code)
    config = json.loads((out / "config.json").read_text())
    names = ("AutoConfig", "AutoModelForSequenceClassification")
    config["auto_map"] = dict.fromkeys(names, "evil.Evil")
    (out / "config.json").write_text(json.dumps(config))
    ilora("predict", out, "a text")
    assert not (tmp_path / "ran").exists()
    config["model_type"] = "evil"
    (out / "config.json").write_text(json.dumps(config))
    assert ilora("predict", out, "a text").exit_code == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "pytorch_model.bin"}}, "names pytorch_model.bin"),
        ({"weight_map": 3}, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_an_index_of_safetensors_names_no_pickles(tiny_model, tmp_path, index, message):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    settings = parsing.load({**parsing.dump(Settings()), "model": str(folder)}).model
    with pytest.raises(ModelError, match=message):
        load_pretrained(settings, ("a", "b"), 0)


def test_names_of_classes_are_not_read_as_formulas(run_config, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split, rows in (("train", 60), ("test", 12)):
        lines = [
            json.dumps({"text": f"text {i}", "domain": ("$x_{$", "$\\frac{$")[i % 2]})
            for i in range(rows)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    run_config |= {"dataset": str(folder), "partitioner": "iid"}
    run_config |= {"partition-plot": True, "report": True, "num-server-rounds": 1}
    finished, _, _ = run(run_config)
    assert list(finished.glob("partition*.png"))
    assert "$x_{$" in (finished / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("<script>alert(1)</script>", r"\<script\>alert(1)\</script\>"),
        ("![x](http://a/b)", r"\!\[x\](http://a/b)"),
        ("a | b\n# heading", r"a \| b # heading"),
        ("book_flight", "book_flight"),
    ],
)
def test_names_of_classes_are_text_in_a_card(name, written):
    assert literal(name) == written


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("seed", 2**63 - 1, "a whole number from 0 to 4294967295"),
        ("seed", 2**32, "a whole number from 0 to 4294967295"),
        ("fraction-train", 0.0, "above 0, up to 1"),
        ("output-dir", "/proc/ilora/run", "and /proc cannot be written"),
    ],
)
def test_settings_that_can_do_nothing_are_refused(run_config, key, value, right):
    with pytest.raises(ConfigError, match=right):
        run(run_config | {key: value})
    assert not Path(run_config["output-dir"]).exists()


def test_rates_that_train_nothing_end_a_run_as_failed(run_config: dict[str, Any]):
    from ilora_app.federation.waiting import UntrainedError

    with pytest.raises(UntrainedError, match="none of 2 rounds"):
        run(run_config | {"learning-rate": 1e300})
