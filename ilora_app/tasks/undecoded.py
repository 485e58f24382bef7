"""A column of images or recordings as files or their bytes, not yet read."""

from typing import TYPE_CHECKING, Any

from ilora_app.tasks.places import DataError

if TYPE_CHECKING:  # what predicts has no data sets
    from datasets import Dataset

# What Arrow raises for a column that holds no such thing, nor can become one.
_NO_SUCH = (TypeError, ValueError, NotImplementedError)


def rows_of(
    data: "Dataset", column: str, kind: Any, key: str, what: str
) -> list[dict[str, Any]]:
    """Each row's path and bytes.

    Args:
        data: rows.
        column: name of the column.
        kind: feature of datasets, with ``decode=False``.
        key: setting that names the column.
        what: it has to hold, such as ``images``.

    Raises:
        DataError: the column holds something else.

    """
    try:
        cast = data.select_columns([column]).cast_column(column, kind)
        return list(cast[column])
    except _NO_SUCH as error:
        expected = f"expected {what} or {'its' if what == 'audio' else 'their'} files"
        whole = f"{key} = {column!r}: {expected} ({error})"
        raise DataError(whole, f"{key}: {expected} in its data") from error
