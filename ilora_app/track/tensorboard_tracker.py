"""TensorBoard: event files under ``tensorboard/`` in the run folder."""

from collections.abc import Mapping
from pathlib import Path

import tomli_w
from torch.utils.tensorboard import SummaryWriter


class TensorBoardTracker:
    """``tensorboard --logdir <run folder>/tensorboard`` shows it, also as it goes."""

    def __init__(
        self, folder: Path, config: Mapping[str, object], after: int | None
    ) -> None:
        # A round that is run again takes the place of what was written of it.
        purge = None if after is None else after + 1
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
        if after is None:
            text = f"```toml\n{tomli_w.dumps(dict(config))}```"
            self._writer.add_text("config", text, 0)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write a point for each metric, and flush: someone may be looking."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def note(self, step: int, text: str) -> None:
        """Write a line of text."""
        self._writer.add_text("left out", text, step)

    def close(self, status: str) -> None:
        """Write what is left."""
        self._writer.add_text("status", status, 0)
        self._writer.close()
