"""What the server keeps of a round: a checkpoint, and the model if it is the best."""

from collections.abc import Callable
from logging import INFO, WARNING
from pathlib import Path
from typing import Any

from flwr.supercore import log

from ilora_app.federation.strategy import LoraStrategy
from ilora_app.runs import best, store
from ilora_app.runs.checkpoint import Checkpoint, Checkpoints
from ilora_app.runs.parts import PartsFolder
from ilora_app.settings import Settings, parsing


class Checkpointer:
    """Keeps rounds of one run.

    Args:
        strategy: that runs them.
        settings: as resolved.
        folder: of the run.
        parts: of the strategy, beside its checkpoints.
        run_key: name under which nodes keep their own state; empty: no checkpoints.
        save: writes the model as it stands into a folder.
        earlier: the best round of a run that goes on.
        weights: fingerprint of the model as it was loaded.

    """

    def __init__(
        self,
        strategy: LoraStrategy,
        settings: Settings,
        folder: Path,
        parts: PartsFolder,
        run_key: str,
        save: Callable[[Path], None],
        earlier: dict[str, Any] | None = None,
        weights: str = "",
    ) -> None:
        self._weights = weights
        self._strategy = strategy
        self._settings = settings
        self._key = run_key
        self._save = save
        self._parts = parts
        self._best_folder = folder / "best"
        self._checkpoints = Checkpoints(folder, settings.keeping.keep_checkpoints)
        self.best = earlier
        if not run_key:
            parts.end_with_process()
        store.mend(self._best_folder)

    def keep(self, rows: list[dict[str, Any]]) -> None:
        """Keep what stands after the last of these rounds.

        What cannot be written is a warning: the run itself is sound.
        """
        metric = self._settings.keeping.best_metric
        # What clients measured on the way came in with the round after. It decides
        # only where there is no global model, which would have moved on since.
        for row in self._candidates(rows):
            found = best.of_rounds(metric, row, self.best)
            if not found:
                continue
            try:
                best.write(self._best_folder, found, self._save)
            except Exception as error:  # each library has its own for a full disk
                log(WARNING, "the best round is not kept: %s", error)
            else:
                self.best = found
        number = rows[-1]["round"]
        if not self._key:
            self._parts.sweep(number, number)
            return
        taken = self._strategy.snapshot()
        checkpoint = Checkpoint(
            round=number,
            key=self._key,
            config=parsing.dump(self._settings),
            rows=rows,
            best=self.best,
            tensors=taken.tensors,
            facts=dict(taken.facts),
            weights=self._weights,
        )
        try:
            self._parts.flush()
            self._checkpoints.save(checkpoint)
        except OSError as error:
            log(WARNING, "round %d has no checkpoint: %s", number, error)
        else:
            self._parts.sweep(number, self._checkpoints.oldest)

    def _candidates(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rounds that may be the best; none where only nodes measure, in no account."""
        if not self._strategy.method.personal:
            return rows[-1:]
        return [] if self._settings.privacy.dp == "client" else rows[-2:]

    def close(self) -> None:
        """Say which round was the best, at the end."""
        metric = self._settings.keeping.best_metric
        if not self._candidates([{}]):
            log(INFO, "No round is the best: what nodes measure is in no account")
        elif self.best:
            number, value = self.best["round"], self.best["value"]
            log(INFO, "Best by %s: round %d (%.4f)", metric, number, value)
            if not number:
                text = (
                    "no round is better than the linear probe it began with (round 0)"
                )
                log(WARNING, "%s: %s", metric, text)
        else:
            log(WARNING, "best-metric = %r: no round has that column", metric)
