"""Weights & Biases: ``wandb/`` in the run folder, offline unless told otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path

import wandb


class WandbTracker:
    """``wandb sync <run folder>/wandb/offline-run-*`` uploads it later.

    WANDB_MODE=online uploads as it goes; who may do so is wandb's own matter.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, object], after: int | None
    ) -> None:
        place = folder / "wandb"
        place.mkdir(exist_ok=True)
        # wandb keeps caches under the home of the user otherwise.
        for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT"):
            os.environ.setdefault(f"WANDB_{name}_DIR", str(place / name.lower()))
        os.environ.setdefault("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "ilora"),
            name=folder.name,
            dir=str(folder),
            config=dict(config),
            settings=wandb.Settings(
                # Nothing of the machine or the repository: an address of a remote can
                # hold a password, and a command line anything.
                disable_git=True,
                save_code=False,
                console="off",
                silent=True,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )
        # Clients may measure a round later: steps go by our number of it.
        self._run.define_metric("*", step_metric="round")
        if after is not None:
            self._run.summary["resumed_after_round"] = after

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log one row."""
        self._run.log({"round": step, **values})

    def note(self, step: int, text: str) -> None:
        """Keep the last line in the summary."""
        self._run.summary["left_out"] = f"round {step}: {text}"

    def close(self, status: str) -> None:
        """Write what is left, and end wandb's own process."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status == "finished" else 1)
        # Its process may still be writing: this waits for it.
        wandb.teardown()
