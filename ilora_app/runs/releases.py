"""How many models a private run has released, also in rounds that were cut off."""

import json
from pathlib import Path

from ilora_app.runs import writing

_FILE = "releases.json"


class Releases:
    """A count beside the checkpoints, which does not go back to one with a run.

    Args:
        folder: of the run.

    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE

    def known(self) -> int | None:
        """The count; None where none was kept.

        Raises:
            PlaceError: it cannot be read.

        """
        try:
            if not self._file.exists():
                return None
            return int(json.loads(self._file.read_text(encoding="utf-8"))["releases"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise writing.PlaceError(
                f"{self._file}: what the run has released cannot be read ({error}), "
                "so what it has spent is not known"
            ) from error

    def keep(self, count: int) -> None:
        """Write it, before what it counts leaves.

        Raises:
            PlaceError: it cannot be written.

        """
        try:
            text = json.dumps({"releases": count}) + "\n"
            writing.whole(self._file, text, flushed=True)
        except OSError as error:
            raise writing.PlaceError(
                f"{self._file}: what the run releases cannot be counted: {error}"
            ) from error
