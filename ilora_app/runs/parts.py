"""Tensors beside a run's checkpoints, written once: ``<run folder>/parts/<key>/``.

A checkpoint has the key of each. A part that has been replaced stays until the oldest
checkpoint is of a round in which it already was.
"""

import re
import shutil
import weakref
from collections.abc import Mapping
from logging import WARNING
from pathlib import Path
from typing import Any

from flwr.supercore import log
from torch import Tensor

from ilora_app.runs import store

FOLDER = "parts"
_KEY = re.compile("[0-9a-z]+(-[0-9]+)*")


class PartsFolder:
    """The parts of one run.

    A part that cannot be written is held in memory, and tried again with the next
    checkpoint: the run itself is sound.

    Args:
        run_folder: of the run.

    """

    stays = True

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / FOLDER
        self._waiting: dict[str, Mapping[str, Tensor]] = {}
        # Key -> round since which no new checkpoint has it; None: since the last one.
        self._retired: dict[str, int | None] = {}

    def write(self, key: str, part: Mapping[str, Tensor]) -> None:
        """Keep a part; one of that key is replaced."""
        self._retired.pop(key, None)
        try:
            store.write(self._folder / key, part, {})
            self._waiting.pop(key, None)
        except OSError as error:
            log(WARNING, "%s stays in memory: %s", self._folder / key, error)
            self._waiting[key] = dict(part)

    def read(self, key: str) -> Mapping[str, Tensor]:
        """Read a part that was written and not retired.

        Raises:
            TornError: it is not what was written.

        """
        if key in self._waiting:
            return self._waiting[key]
        return store.read(self._folder / key)[0]

    def retire(self, key: str) -> None:
        """Let a part go, once no checkpoint has its key."""
        if self._waiting.pop(key, None) is None:
            self._retired[key] = None

    def resume(self, facts: Mapping[str, Any], server_round: int) -> None:
        """Go on from a checkpoint; what is there beside its parts goes in time."""
        found = {path.name for path in self._folder.glob("*")} - set(_keys(facts))
        self._retired = dict.fromkeys(found, server_round)

    def flush(self) -> None:
        """Write what could not be written.

        Raises:
            OSError: it still cannot be.

        """
        for key, part in list(self._waiting.items()):
            store.write(self._folder / key, part, {})
            del self._waiting[key]

    def sweep(self, server_round: int, oldest: int) -> None:
        """Remove what no checkpoint has any more.

        Args:
            server_round: of the newest checkpoint; it has no key that is retired.
            oldest: round of the oldest one.

        """
        for key, since in list(self._retired.items()):
            since = self._retired[key] = server_round if since is None else since
            if since <= oldest:
                shutil.rmtree(self._folder / key, ignore_errors=True)
                del self._retired[key]

    def end_with_process(self) -> None:
        """Remove all of them once nobody has this any more: nothing is resumed."""
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)


def problem(run_folder: Path, facts: Mapping[str, Any]) -> str:
    """Say which part of a checkpoint is not there, or not as it was written.

    One after the other is read as a whole: the sum of all may not be held in memory.
    """
    folder = run_folder / FOLDER
    for key in _keys(facts):
        if not (_KEY.fullmatch(key) and (folder / key).is_dir()):
            return f"it lacks {FOLDER}/{key}"
        try:
            store.read(folder / key)
        except store.TornError as error:
            return str(error)
    return ""


def _keys(facts: Mapping[str, Any]) -> list[str]:
    """Keys among the facts of a strategy: by member, beside numbers."""
    members = facts.get("taken", {}).values()
    found = [item for fact in members if isinstance(fact, list) for item in fact]
    return [item for item in found if isinstance(item, str)]
