"""What is wrong with a model to predict with, said before torch is loaded."""

import tomllib
from pathlib import Path

from ilora_app.export import base as base_
from ilora_app.export.facts import NAME, Facts
from ilora_app.export.places import LAST, ReleaseError, find_run
from ilora_app.runs.places import CONFIG
from ilora_app.settings import options
from ilora_app.tasks import models


def check(folder: str, which: str = LAST, base: str = "") -> None:
    """Look whether a folder is an exported one or a run, and its base model is here.

    Args:
        folder: exported, or of a run.
        which: ``last`` or ``best`` round of a run.
        base: folder or hub id of the base model of an adapter; empty: found.

    Raises:
        ReleaseError: it is neither, or its base model cannot be had.

    """
    path = options.folder(folder)
    if (path / NAME).is_file():
        if which != LAST:
            raise ReleaseError(f"--round {which}: {path} is no run, and has one")
        facts = Facts.read(path)
        if not facts.merged:
            _has(base_.find(facts.base, facts.base_sha256, base)[0], base)
        return
    # Of a part of a run ``find_run`` has a sentence of its own.
    runs = (place / CONFIG for place in (path, *path.parents[:2]))
    if path.is_dir() and not any(file.is_file() for file in runs):
        raise ReleaseError(
            f"{path}: expected an exported folder, with an {NAME} in it, or that of a "
            f"run, with a {CONFIG} in it"
        )
    run = find_run(folder)
    if (run / "adapter").is_dir():
        _has(base or _model_of(run), base)


def _model_of(run: Path) -> str:
    """Base model of a run; empty where its config is torn, which is said later."""
    try:
        config = tomllib.loads((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    return str(config.get("model", ""))


def _has(name: str, given: str) -> None:
    why = models.absent(name) if name else ""
    if why:
        what = "" if given else "the base model, which --base may name: "
        raise ReleaseError(f"{what}{why}")
