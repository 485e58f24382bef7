"""Columns that a data set lacks: what it has, and what can be done."""

from collections.abc import Mapping, Sequence

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import kind


def problem(
    settings: DataSettings,
    key: str,
    found: Sequence[str],
    have: Sequence[str],
    files: Mapping[str, tuple[str, ...]],
    task: str,
) -> str:
    """Say that a column is not there, or that none was found.

    Args:
        settings: as given.
        key: the setting of the column.
        found: columns that it names; none where none was found.
        have: columns of the set.
        files: its columns of images and of recordings, by the task that reads them.
        task: which needs the column.

    """
    name = f"{key.replace('_', '-')} = {getattr(settings, key)!r}"
    whole = f"{name}: {settings.dataset} has the columns {', '.join(have)}"
    if found:
        return whole
    if key == "partition_by":
        return (
            f"{whole}; partitioner {settings.partitioner} needs the one to go by, iid "
            "needs none"
        )
    for other, there in files.items():
        what = "images" if kind(other).file == "image" else "recordings"
        if there and key == "text_columns" and not kind(task).file:
            return f"{whole}: {what} want task = {other!r}"
        if there == (*have,) and key == "label_column":
            return (
                f"{name}: {settings.dataset} has {what} and no classes; expected a "
                "folder for each class, all as deep as one another (CLASS/FILE or "
                "SPLIT/CLASS/FILE), or a table beside them with a column of classes"
            )
    return f"{whole}; name the one to use"
