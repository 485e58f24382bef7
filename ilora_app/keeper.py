"""What the server keeps after every round: a checkpoint to go on from."""

from logging import WARNING
from pathlib import Path
from typing import Any

from flwr.supercore import log

from ilora_app import config
from ilora_app.runs.checkpoint import Checkpoint, Checkpoints
from ilora_app.settings import Settings
from ilora_app.strategies import LoraStrategy, snapshot


class Keeper:
    """Keeps rounds of one run.

    Args:
        strategy: that runs them.
        settings: as resolved.
        folder: of the run.
        run_key: name under which nodes keep their own state; empty keeps nothing.
        best: the best round of a run that goes on.

    """

    def __init__(
        self,
        strategy: LoraStrategy,
        settings: Settings,
        folder: Path,
        run_key: str,
        best: dict[str, Any] | None = None,
    ) -> None:
        self._strategy = strategy
        self._settings = settings
        self._key = run_key
        self._checkpoints = Checkpoints(folder, settings.keeping.keep_checkpoints)
        self.best = best

    def keep(self, rows: list[dict[str, Any]]) -> None:
        """Keep what stands after the last of these rounds.

        A checkpoint that cannot be written is a warning: the run itself is sound.
        """
        if not self._key:
            return
        taken = snapshot.take(self._strategy)
        checkpoint = Checkpoint(
            round=rows[-1]["round"],
            key=self._key,
            config=config.dump(self._settings),
            rows=rows,
            best=self.best,
            tensors=taken.tensors,
            facts=dict(taken.facts),
        )
        try:
            self._checkpoints.save(checkpoint)
        except OSError as error:
            number = checkpoint.round
            log(WARNING, "round %d has no checkpoint: %s", number, error)
