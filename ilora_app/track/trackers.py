"""Passes the events of a run to the trackers that it names."""

import importlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from logging import WARNING
from pathlib import Path
from typing import Any, Protocol

from flwr.supercore import log

# name -> (package to import, module and class of the adapter)
_KNOWN = {
    "tensorboard": ("tensorboard", "tensorboard_tracker", "TensorBoardTracker"),
    "wandb": ("wandb", "wandb_tracker", "WandbTracker"),
    "mlflow": ("mlflow", "mlflow_tracker", "MlflowTracker"),
}

FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"


class Tracker(Protocol):
    """What an adapter does.

    It is made with the folder of the run, its config, and the last round of a run that
    goes on (None begins one).
    """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take the metrics of a round."""

    def note(self, step: int, text: str) -> None:
        """Take a line about what went wrong in a round."""

    def close(self, status: str) -> None:
        """Write what is left; ``status`` is finished, failed or stopped."""


def problems(names: Sequence[str]) -> list[str]:
    """Name the trackers whose package is absent, with what installs it."""
    found = []
    for name in dict.fromkeys(names):
        if name in _KNOWN and importlib.util.find_spec(_KNOWN[name][0]) is None:
            found.append(
                f"track = {name!r}: expected its package to be installed where the "
                f"ServerApp runs: pip install {_KNOWN[name][0]}"
            )
    return found


class Trackers:
    """All trackers of a run. One that raises is given up with a warning.

    Args:
        names: of trackers.
        folder: of the run.
        config: as resolved.
        after: last round of a run that goes on; None begins one.

    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        config: Mapping[str, object],
        after: int | None = None,
    ) -> None:
        self._open: dict[str, Tracker] = {}
        self._round = after or 0
        for name in dict.fromkeys(names):
            try:
                _, module, kind = _KNOWN[name]
                adapter = importlib.import_module(f"ilora_app.track.{module}")
                self._open[name] = getattr(adapter, kind)(folder, config, after)
            except Exception as error:
                self._give_up(name, error)

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Pass an event on, as it stands in events.jsonl."""
        if kind in ("round", "measured"):
            self._round = facts["round"] if kind == "round" else self._round
            values = {
                key: float(value)
                for key, value in facts.items()
                if key != "round"
                and isinstance(value, int | float)
                and math.isfinite(value)
            }
            self._each("scalars", facts["round"], values)
        elif kind in (
            "reply-left-out",
            "model-unchanged",
            "node-left-out",
            "node-struck-out",
        ):
            step = facts.get("round", self._round)
            self._each("note", step, f"{kind}: {facts.get('reason', '')}")
        elif kind in (FINISHED, FAILED, STOPPED):
            self._each("close", kind)
            self._open = {}

    def _each(self, call: str, *values: Any) -> None:
        for name, tracker in list(self._open.items()):
            try:
                getattr(tracker, call)(*values)
            except Exception as error:
                self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        """The run itself is sound whatever a tracker does."""
        self._open.pop(name, None)
        # The kind alone: a message of theirs may quote an address with a password.
        kind = type(error).__name__
        log(WARNING, "track: %s raised %s and is not written on", name, kind)
