"""No word of a node's data leaves it: rows, columns, classes, files and folders.

Nodes whose data is wrong in every way that a task knows take part in real runs. All
that they hold bears a mark, and all that is sent, written or logged by others is
searched for it.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.task_identity import TaskIdentity
from PIL import Image

from ilora_app import client_app
from ilora_app.node.answers import answer_errors
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server
from tests import tiny_models
from tests.conftest import read_events
from tests.local_run import FaultyGrid

MARK = "JaneDoe7"
Rows = list[dict[str, Any]]


class Searched(FaultyGrid):
    """Keeps what nodes send, and what is logged by others; a node may lose a file."""

    def __init__(self, run_config, folders: list[Path], lost: list[Path]) -> None:
        super().__init__(client_app.app, run_config, len(folders))
        for context, folder in zip(self._contexts.values(), folders, strict=True):
            context.node_config = {
                "data-path": str(folder),
                "lora-rank": 2,
                "state-path": str(folder / "state"),
            }
        self.lost, self.on_a_node = lost, False
        self.said, self.heard, self.sent_back = [], [], b""
        self.handler = logging.Handler()
        self.handler.emit = self._emit  # type: ignore[method-assign]
        logging.getLogger("flwr").addHandler(self.handler)

    def _emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter().format(record)
        (self.said if self.on_a_node else self.heard).append(text)

    def _answer(self, messages):
        if messages[0].metadata.message_type == "train":
            for file in self.lost:
                file.unlink(missing_ok=True)
        self.on_a_node = True
        try:
            replies = super()._answer(messages)
        finally:
            self.on_a_node = False
        for reply in replies:
            for part in get_all_nested_objects(reply).values():
                self.sent_back += part.deflate()
        return replies


def jsonl(folder: Path, rows: Rows, name: str = f"{MARK}.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def marked(rows: Rows, column: str) -> Rows:
    return [row | {column: f"{row[column]} {MARK}"} for row in rows]


def texts(root: Path, rows: Rows) -> tuple[list[Path], list[Path]]:
    """Good nodes, and: a strange class, no class, no column, no table, odd classes."""
    good, one = marked(rows[:40], "text"), rows[0]
    found = [jsonl(root / "a", good), jsonl(root / "b", good)]
    found.append(jsonl(root / "class", [*good, one | {"domain": MARK}]))
    found.append(jsonl(root / "none", [*good, one | {"domain": None}]))
    renamed = [{MARK: row["text"], f"{MARK} too": row["domain"]} for row in rows[:9]]
    found.append(jsonl(root / "columns", renamed))
    found.append(jsonl(root / "odd", [row | {"domain": [MARK]} for row in rows[:9]]))
    torn = jsonl(root / "torn", good)
    (torn / f"{MARK}.jsonl").write_text(f'{{"text": "{MARK}", ]')
    found += [torn, root / "absent", jsonl(root / "empty", [])]
    return found, []


def prompts(root: Path, rows: Rows) -> tuple[list[Path], list[Path]]:
    """Good nodes, and: no column, none that a template names, a torn file."""
    good = marked(rows[:20], "text")
    found = [jsonl(root / "a", good), jsonl(root / "b", good)]
    found.append(jsonl(root / "columns", [{"text": MARK, f"{MARK} b": "c"}] * 9))
    found.append(jsonl(root / "other", [{MARK: "x", "text": "a", "intent": "b"}] * 9))
    torn = jsonl(root / "torn", good)
    (torn / f"{MARK}.jsonl").write_text(f'{{"text": "{MARK}", ]')
    return [*found, torn], []


def images(root: Path, rows: Rows) -> tuple[list[Path], list[Path]]:
    """Good nodes, and: a strange class, torn, numbers for images, one that goes."""
    found = []
    for name in ("a", "b", "class", "torn", "gone"):
        for label in ("up", "across", "red"):
            folder = root / name / "train" / label
            folder.mkdir(parents=True)
            for number in range(4):
                picture = Image.new("RGB", (16, 16), (50 * number, 0, 0))
                picture.save(folder / f"{MARK}-{number}.png")
        found.append(root / name)
    (root / "class" / "train" / "up").rename(root / "class" / "train" / MARK)
    (root / "torn" / "train" / "red" / f"{MARK}-1.png").write_bytes(b"no image")
    found.append(jsonl(root / "numbers", [{"image": 7, "label": "up", MARK: 1}] * 9))
    found.append(jsonl(root / "paths", [{"image": f"/{MARK}.png", "label": "up"}] * 9))
    return found, sorted((root / "gone").glob("train/*/*-2.png"))


KINDS: dict[str, tuple[str, Callable[..., Any], dict[str, Any], set[str]]] = {
    "text": ("bert", texts, {}, {"its data cannot be loaded", "carry no class",
             "no such column", "none of the federation's", "is not there"}),
    "language": ("gpt2", prompts, {"label-column": "auto",
             "prompt-template": "{text} {domain}"}, {
             "answer-column, prompt-template: no such column", "cannot be loaded",
             "prompt-template: no such column"}),
    "image": ("vit", images, {"partitioner": "iid"}, {"images cannot be read",
              "none of the federation's", "an image of its data cannot be read",
              "image-column: expected images"}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_word_of_the_data_leaves_a_node(run_config, tmp_path, kind):
    model, make, changes, expected = KINDS[kind]
    given = tiny_models.make(model, tmp_path / "model")
    rows = []
    if model != "vit":
        lines = (Path(given["dataset"]) / "train.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
    folders, lost = make(tmp_path / MARK, rows)
    run_config |= given | changes
    run_config |= {"num-server-rounds": 1, "report": True, "local-steps": 20}
    if model == "vit":
        run_config |= {"label-column": "label"}
    grid = Searched(run_config, folders, lost)
    try:
        prepared = preflight.prepare(run_config)
        server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
        server.run()
    finally:
        logging.getLogger("flwr").removeHandler(grid.handler)
    folder = server.folder.path
    events = read_events(folder, "node-left-out") + read_events(
        folder, "reply-left-out"
    )
    reasons = [event["reason"] for event in events]
    assert all(any(text in r for r in reasons) for text in expected), reasons
    assert len({event["node"] for event in events}) == len(folders) - 2
    # The node's own log has it: what would be a test of nothing is not one.
    assert any(MARK in text for text in grid.said)
    assert all(MARK not in text for text in grid.heard)
    assert MARK.encode() not in grid.sent_back
    assert (folder / "report.html").is_file()
    for file in folder.rglob("*"):
        assert not file.is_file() or MARK.encode() not in file.read_bytes(), file


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError(MARK)


@pytest.mark.parametrize(
    "error",
    [
        KeyError(MARK),
        OSError(2, "no such file", f"/{MARK}/a"),
        UnicodeDecodeError("utf-8", MARK.encode(), 0, 1, MARK),
        OddError(),
        ExceptionGroup(MARK, [ValueError(MARK)]),
    ],
)
def test_of_any_other_exception_its_kind_is_told(error):
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1

    @answer_errors
    def handler(message: Message, context: Context) -> Message:
        raise error

    asked = Message(RecordDict({"config": ConfigRecord()}), 7, "train")
    reply = handler(asked, Context(1, 7, {}, RecordDict(), {}))
    assert reply.error.reason.startswith(f"{type(error).__name__} in node/answers.py:")
    assert MARK not in reply.error.reason
