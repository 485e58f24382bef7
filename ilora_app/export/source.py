"""A finished run as what an export is made from: its model, its settings, its rows."""

import csv
import json
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig

from ilora_app.export.places import BEST, LAST, STUMBLES, ReleaseError
from ilora_app.runs.adapter import CONFIG, WEIGHTS
from ilora_app.settings import Settings, parsing
from ilora_app.tasks.task import TASKS


@dataclass(frozen=True)
class Source:
    """The global model of one round of a run.

    Attributes:
        run: the run folder.
        settings: of the run, as resolved.
        model: folder of the adapter, or of the whole model.
        whole: every weight was trained; there is no adapter.
        labels: names of the classes in the order of their ids; none without classes.
        round: whose model it is.
        row: of that round in metrics.csv, numbers alone.
        ranks: of the clients, in the order of their partitions.
        own: keys of the config that its method alone declares.

    """

    run: Path
    settings: Settings
    model: Path
    whole: bool
    labels: tuple[str, ...]
    round: int
    row: dict[str, float]
    ranks: tuple[int, ...]
    own: Mapping[str, object]


def open_run(folder: Path, which: str = LAST) -> Source:
    """Read a run folder.

    Args:
        folder: of the run.
        which: ``last`` or ``best``.

    Raises:
        ReleaseError: it holds no model, or is not whole.

    """
    try:
        text = (folder / "config.toml").read_text(encoding="utf-8")
        config = tomllib.loads(text)
        known = parsing.dump(Settings())
        settings = parsing.load({k: v for k, v in config.items() if k in known})
    except (OSError, ValueError, RecursionError) as error:
        raise ReleaseError(
            f"{folder / 'config.toml'} cannot be read: {error}"
        ) from None
    place = folder / "best" if which == BEST else folder
    model, whole = _model(place, which, settings)
    rows = _rows(folder)
    if which == BEST:
        number = _best_round(place / "best.json")
    else:
        number = int(max(rows, default=settings.run.num_server_rounds))
    return Source(
        run=folder,
        settings=settings,
        model=model,
        whole=whole,
        labels=labels_of(model, settings.model.task),
        round=number,
        row=rows.get(number, {}),
        ranks=_ranks(folder),
        own={k: v for k, v in config.items() if k not in known},
    )


def labels_of(model: Path, task: str) -> tuple[str, ...]:
    """Names of the classes, from the config.json of a model's or adapter's folder.

    Raises:
        ReleaseError: there is no such file.

    """
    if not TASKS[task].has_classes:
        return ()
    try:
        found = AutoConfig.from_pretrained(
            model, local_files_only=True, trust_remote_code=False
        ).id2label
        return tuple(str(found[i]) for i in sorted(found))
    except Exception as error:  # what stands there, transformers may stumble over
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReleaseError(
            f"{model / 'config.json'}, which names the classes, cannot be read: {cause}"
        ) from None


def _model(place: Path, which: str, settings: Settings) -> tuple[Path, bool]:
    """Folder of the model, and whether every weight is in it."""
    adapter, whole = place / "adapter", place / "model"
    if (adapter / WEIGHTS).is_file() and (adapter / CONFIG).is_file():
        return adapter, False
    if (whole / "config.json").is_file():
        return whole, True
    if which == BEST and not place.is_dir():
        why = "no round was the best yet, or none was measured by best-metric"
    elif not settings.run.save_adapters:
        why = "it was run with save-adapters = false"
    elif settings.run.strategy in ("fedsa-lora", "local"):
        why = f"under {settings.run.strategy} clients keep models of their own"
    else:
        why = "it has not ended, or was stopped; its last round may be in best/"
    raise ReleaseError(f"{place} holds no model: {why}")


def _rows(folder: Path) -> dict[int, dict[str, float]]:
    """metrics.csv by round."""
    try:
        with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
            return {
                int(row["round"]): {k: float(v) for k, v in row.items() if v}
                for row in csv.DictReader(file)
            }
    except FileNotFoundError:
        return {}
    except (OSError, csv.Error, *STUMBLES) as error:
        raise ReleaseError(
            f"{folder / 'metrics.csv'} cannot be read: {error}"
        ) from None


def _ranks(folder: Path) -> tuple[int, ...]:
    """Ranks of the members that events.jsonl tells of."""
    found: dict[int, int] = {}
    try:
        text = (folder / "events.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    for line in text.split("\n"):
        # A crash leaves a line torn.
        with suppress(*STUMBLES):
            event = json.loads(line)
            if event["event"] == "member":
                partition = event.get("partition")
                who = event["node_id"] if partition is None else partition
                found[int(who)] = int(event["rank"])
    return tuple(found[who] for who in sorted(found))


def _best_round(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["round"])
    except KeyError:
        raise ReleaseError(f"{path} cannot be read: it names no round") from None
    except (OSError, *STUMBLES) as error:
        raise ReleaseError(f"{path} cannot be read: {error}") from None
