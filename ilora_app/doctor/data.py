"""A node's own data, as a run would read it: what is there, and what is wrong.

A node tells the server no more than counts. Who has the data looks at it here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset
from flwr.app import Context, RecordDict

from ilora_app import wire
from ilora_app.doctor.finding import OK, PROBLEM, WARNING, Finding
from ilora_app.node.data import NodeData
from ilora_app.node.node import Node
from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import kind
from ilora_app.settings.mistake import MistakeError
from ilora_app.tasks import files, labels, sources, splits
from ilora_app.tasks.task import TASKS

_FILES, _CLASSES = 5, 30
_MEND = "a run leaves this node out until it is mended; nobody else is told so much"


def data(
    node_config: Mapping[str, Any],
    run_config: Mapping[str, Any],
    classes: tuple[str, ...],
) -> Iterator[Finding]:
    """Look at the data that a node config names.

    Args:
        node_config: as the SuperNode has it.
        run_config: of the run: its task and columns.
        classes: of the run; none: they are not compared.

    """
    context = Context(0, 0, dict(node_config), RecordDict(), dict(run_config))
    try:
        node = Node.of(context, classes).data
    except MistakeError as error:
        yield Finding("node config", PROBLEM, str(error), "see docs/deploy.md")
        return
    if not node.path:
        advice = f"a folder of its own is named by {wire.DATA_PATH}"
        yield Finding("data", WARNING, "this node is dealt a part of a set", advice)
        return
    yield _files(Path(node.path))
    try:
        source = node.source
        rows = sources.only_split(source, node.seed)
    except MistakeError as error:
        yield Finding("data", PROBLEM, str(error), _MEND)
        return
    held_out = int(len(rows) * source.holdout_fraction)
    found = f"{len(rows)}, of which {held_out} are held out"
    yield Finding("rows", OK if len(rows) else PROBLEM, found, "" if rows else _MEND)
    yield _columns(source, rows)
    if source.label_column:
        yield from _classes(node, source, rows)
    yield from _torn(node, source, rows)


def _files(folder: Path) -> Finding:
    if folder.is_file():
        return Finding("data files", OK, str(folder), "")
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    named = [f"{file.relative_to(folder)}" for file in files[:_FILES]]
    more = f" and {len(files) - _FILES} more" if len(files) > _FILES else ""
    found = f"{folder}: {', '.join(named) or 'no files'}{more}"
    return Finding(
        "data files", OK if files else PROBLEM, found, "" if files else _MEND
    )


def _columns(source: DataSettings, rows: Dataset) -> Finding:
    used = {
        "text-columns": source.text_columns,
        "image-column": source.image_column,
        "audio-column": source.audio_column,
        "label-column": source.label_column,
        "answer-column": source.answer_column,
    }
    chosen = ", ".join(f"{key} = {value!r}" for key, value in used.items() if value)
    return Finding("columns", OK, f"{', '.join(rows.column_names)}; {chosen}")


def _classes(node: NodeData, source: DataSettings, rows: Dataset) -> Iterator[Finding]:
    column = source.label_column
    feature, values = rows.features[column], rows[column][:]
    labelled = [value for value in values if value not in (None, -1)]
    shown = labelled
    if isinstance(feature, ClassLabel):
        shown = [feature.names[int(value)] for value in labelled]
    counts = sorted(Counter(map(splits.class_name, shown)).items())
    named = ", ".join(f"{name} ({number})" for name, number in counts[:_CLASSES])
    more = f" and {len(counts) - _CLASSES} more" if len(counts) > _CLASSES else ""
    yield Finding("classes", OK, f"{len(counts)}: {named}{more}")
    yield from _looked(lambda: labels.unlabelled(rows, column, node.where), "no class")
    if not TASKS[node.model.task].has_classes:
        return
    if node.classes:
        yield from _looked(
            lambda: labels.label_ids(labelled, feature, node.classes), "strange class"
        )
    else:
        found, advice = "not compared with those of the run", "name them: --classes"
        yield Finding("classes of the run", WARNING, found, advice)


def _torn(node: NodeData, source: DataSettings, rows: Dataset) -> Iterator[Finding]:
    """Images and recordings that cannot be read."""
    task = node.model.task
    try:
        found = files.unreadable(rows, source, task, node.where)
    except MistakeError as error:
        found = [str(error)]
    for text in found:
        yield Finding(files.WORDS[kind(task).file], PROBLEM, text, _MEND)


def _looked(look: Callable[[], object], name: str) -> Iterator[Finding]:
    """Run a check of the node's, and say what it says."""
    try:
        look()
    except MistakeError as error:
        yield Finding(name, PROBLEM, str(error), _MEND)
