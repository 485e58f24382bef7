"""The column that a deal goes by: one value in every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilora_app.settings import DataSettings
from ilora_app.settings.data import AUTO
from ilora_app.tasks.columns import label_of
from ilora_app.tasks.places import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_GROUPS_BY = ("dirichlet", "pathological", "natural-id")
"""These put values in order, among which nothing has no place; shard takes any."""


def check(rows: Dataset, settings: DataSettings) -> None:
    """Look at the column that the rows are dealt out by, where there is one.

    Args:
        rows: of the training split.
        settings: with the columns by name.

    Raises:
        DataError: it holds lists or values of several kinds, or nothing in some rows.

    """
    from datasets import ClassLabel, Value

    by, how = settings.partition_by, settings.partitioner
    if by not in rows.column_names or how in ("iid", "linear", "exponential"):
        return
    how = "dirichlet" if how == AUTO else how
    if not isinstance(rows.features[by], ClassLabel | Value):
        raise DataError(
            f"partition-by = {by!r}: it holds lists, or values of several kinds, and "
            f"the partitioner {how} goes by one text or number a row; expected another "
            "column, or partitioner = 'iid'",
            "partition-by: expected one text or number a row in its data",
        )
    empty = sum(value is None for value in rows[by][:])
    if not empty or how not in _GROUPS_BY:
        return
    out = "drop-unlabelled = true, which leaves them out, or "
    raise DataError(
        f"partition-by = {by!r}: {empty} of {len(rows)} rows have nothing there, and "
        f"the partitioner {how} goes by it; expected a value in every row, "
        f"{out if by == label_of(settings, rows.column_names) else 'or '}"
        "partitioner = 'iid'",
        f"partition-by: {empty} of {len(rows)} rows of its data have nothing there",
    )
