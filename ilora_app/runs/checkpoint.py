"""The server's checkpoints: ``<run folder>/checkpoints/round-<n>/``, one a round.

What single members are known for is in one file beside them: see ``fact_log``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from logging import WARNING
from pathlib import Path
from typing import Any

from flwr.supercore import log
from torch import Tensor

from ilora_app.runs import fact_log, parts, store
from ilora_app.runs.fact_log import FactLog

FOLDER, _PREFIX = "checkpoints", "round-"
_LOG = "log"


@dataclass(frozen=True)
class Checkpoint:
    """All that a server needs to go on after a round.

    Attributes:
        round: the last one that is finished.
        key: name of the run under which nodes keep their own state.
        config: the run config as resolved.
        rows: of metrics.csv so far.
        best: the best round so far and its value, or None.
        tensors: of the strategy, by name.
        facts: of the strategy.
        weights: fingerprint of the model that the run began with.

    """

    round: int
    key: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    best: dict[str, Any] | None
    tensors: Mapping[str, Tensor]
    facts: dict[str, Any]
    weights: str = ""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run_folder: of the run.
        keep: how many of the newest stay.

    """

    def __init__(self, run_folder: Path, keep: int = 2) -> None:
        self._run, self._folder = run_folder, run_folder / FOLDER
        self._keep, self._facts = keep, FactLog(self._folder)

    @property
    def newest(self) -> Path | None:
        """Folder of the newest one, whether it can be read or not."""
        return next(iter(store.numbered(self._folder, _PREFIX).values()), None)

    @property
    def oldest(self) -> int:
        """Round of the oldest one; 0 without any."""
        return min(store.numbered(self._folder, _PREFIX), default=0)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, whole or not at all; the oldest ones go.

        Raises:
            OSError: the place cannot be written.

        """
        facts = {
            name: getattr(checkpoint, name)
            for name in ("round", "key", "config", "rows", "best", "facts", "weights")
        }
        facts["facts"] = {_LOG: self._facts.write(checkpoint.facts)}
        folder = self._folder / f"{_PREFIX}{checkpoint.round}"
        store.write(folder, checkpoint.tensors, facts)
        store.keep_newest(self._folder, _PREFIX, self._keep)
        self._facts.sweep(checkpoint.round, self.oldest)

    def load(self) -> Checkpoint:
        """Read the newest one that is whole; the log says which ones are not.

        Raises:
            TornError: there is none, with what is wrong with each.

        """
        problems = []
        for number, folder in store.numbered(self._folder, _PREFIX).items():
            try:
                tensors, facts = store.read(folder)
                if _LOG in facts["facts"]:  # not in those of before there was one
                    mark = facts["facts"][_LOG]
                    facts |= {"facts": fact_log.read(self._folder, mark)}
                found = Checkpoint(**facts, tensors=tensors)
                if wrong := parts.problem(self._run, found.facts):
                    raise store.TornError(f"{folder}: {wrong}")
            except (store.TornError, LookupError, TypeError) as error:
                problems.append(str(error))
                continue
            for problem in problems:
                log(WARNING, "%s; going on from round %d", problem, number)
            return found
        why = "".join(f"; {problem}" for problem in problems)
        raise store.TornError(f"{self._folder} holds no whole checkpoint{why}")
