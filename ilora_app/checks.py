"""Everything that can be wrong before round 1, found together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ilora_app import config
from ilora_app.settings import Settings
from ilora_app.strategies import STRATEGIES
from ilora_app.tasks import data
from ilora_app.tasks.backbone import Backbone, load_backbone
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.text import TextExamples, tokenise


@dataclass(frozen=True)
class Prepared:
    """What the server needs to run, all of it loaded and checked."""

    settings: Settings
    backbone: Backbone
    labels: tuple[str, ...]
    test: TextExamples


def prepare(run_config: Mapping[str, object]) -> Prepared:
    """Read the run config, and load the data and the model that it names.

    Raises:
        ConfigError: with every mistake: keys, values, folders, columns, modules, ranks.

    """
    settings, problems = config.parse(run_config)
    found = list(problems.values())
    if settings.run.strategy not in STRATEGIES:
        right = "one of " + ", ".join(STRATEGIES)
        found.append(config.describe("strategy", settings.run.strategy, right))
    found += _output_dir(settings.run.output_dir)

    labels: tuple[str, ...] = ("0", "1")
    test_rows = None
    try:
        labels = data.label_names(settings.data, settings.run.seed)
        test_rows = data.split(
            settings.data, settings.data.test_split, "test-split", settings.run.seed
        )
        if len(labels) < 2 or len(test_rows) == 0:
            found.append(
                f"dataset = {settings.data.dataset!r}: expected two classes or more "
                f"and a test split with rows, found {len(labels)} and {len(test_rows)}"
            )
    except data.DataError as error:
        found.append(str(error))

    backbone = None
    try:
        backbone = load_backbone(settings.model, labels, settings.run.seed)
        if "client-ranks" not in problems:
            found += fits(backbone, "client-ranks", max(settings.ranks))
    except ModelError as error:
        found.append(_with_key(str(error), settings.model.model))
    if found or backbone is None or test_rows is None:
        raise config.ConfigError(found)
    test = tokenise(test_rows, settings.data, labels, backbone.tokenizer)
    return Prepared(settings, backbone, labels, test)


def fits(backbone: Backbone, key: str, rank: int) -> list[str]:
    """Hold a rank against the smallest side of every adapted layer."""
    sides = {name: min(W.shape) for name, W in backbone.base_weights().items()}
    module = min(sides, key=lambda name: sides[name])
    if rank <= sides[module]:
        return []
    right = f"ranks up to {sides[module]}, the smaller side of {module}"
    return [config.describe(key, rank, right)]


def _output_dir(value: str) -> list[str]:
    """A run folder is absolute, new, and can be written."""
    if not value:
        return []
    folder = Path(value).expanduser()
    if not folder.is_absolute():
        right = "an absolute folder or one under ~: the app has no working directory"
        return [config.describe("output-dir", value, right)]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        right = "a new or empty folder: a run never writes over another"
        return [config.describe("output-dir", value, right)]
    parent = next(part for part in (folder, *folder.parents) if part.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        right = f"a folder that can be made, and {parent} cannot be written"
        return [config.describe("output-dir", value, right)]
    return []


def _with_key(message: str, model: str) -> str:
    """Name the key where the message does not yet begin with one."""
    keys = ("target-modules", "modules-to-save")
    return message if message.startswith(keys) else f"model = {model!r}: {message}"
