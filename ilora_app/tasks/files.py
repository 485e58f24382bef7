"""The one file that a row of some tasks has: an image, or a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import kind
from ilora_app.tasks import columns
from ilora_app.tasks.places import DataError

if TYPE_CHECKING:
    from datasets import Dataset

WORDS = {"image": "images", "audio": "recordings"}
"""What several of them are called."""


def encoded(rows: Dataset, settings: DataSettings, task: str) -> list[dict[str, Any]]:
    """Files, or their bytes, not yet read.

    Raises:
        DataError: the column holds something else.

    """
    from ilora_app.tasks import audio, vision  # the libraries of models take seconds

    column = columns.read_by(settings, task)[0]
    if kind(task).file == "audio":
        return audio.encoded(rows, column)
    return vision.encoded(rows, column)


def unreadable(
    rows: Dataset, settings: DataSettings, task: str, where: str
) -> list[str]:
    """Read every file once; one problem that counts and names those that are torn.

    None where a row of the task has no file.

    Raises:
        DataError: the column holds something else.

    """
    file = kind(task).file
    if not file:
        return []
    from ilora_app.tasks import audio, vision

    if file == "audio":
        try:
            audio.library()
        except DataError as error:
            return [str(error)]
    column, bad = columns.read_by(settings, task)[0], []
    for index, one in enumerate(encoded(rows, settings, task)):
        try:
            if file == "audio":
                audio.read(one, 0, settings.max_seconds, f"row {index}")
            else:
                vision.read(one, f"row {index}")
        except (DataError, TypeError) as error:
            bad.append(str(error))
    if not bad:
        return []
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return [
        f"{file}-column = {column!r}: {len(bad)} of {len(rows)} {WORDS[file]} of "
        f"{where} cannot be read; repair them or take them out: "
        f"{'; '.join(bad[:3])}{more}"
    ]
