"""Lists as pandas writes them into a csv: the text ['a', 'b']."""

import ast
import re
from collections.abc import Sequence

from ilora_app.tasks.places import DataError

_ITEM = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d+)"""
_LIST = re.compile(rf"\[\s*(?:{_ITEM}\s*(?:,\s*{_ITEM}\s*)*)?\]")
# Something in quotes between brackets, or several numbers: NumPy writes no commas.
_MEANT = re.compile(r"""\[\s*(?:['"].*['"]|-?\d+(?:\s+-?\d+)+)\s*\]""", re.DOTALL)


def read(texts: Sequence[str], column: str) -> dict[str, list[str]]:
    """Read the texts of a column that all are lists: the items of each by its text.

    Args:
        texts: of the column; blank ones are none.
        column: its name.

    Returns:
        Nothing where they are other texts.

    Raises:
        DataError: one of them is meant as a list, and not every one can be read so.

    """
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    found = {text: items for text in distinct if (items := _items(text)) is not None}
    if len(found) == len(distinct):
        return found
    if not any(_MEANT.fullmatch(text.strip()) for text in distinct):
        return {}
    other = next(text for text in distinct if text not in found)
    raise DataError(
        f"the column {column!r}: some of its texts are lists, and {other!r} is none; "
        "expected in every row a list of texts with commas between them, such as "
        "['a', 'b'], or everywhere texts without brackets",
        "a column of its data: some of its texts are lists, and others cannot be read "
        "as such",
    )


def _items(text: str) -> list[str] | None:
    """Items of a list; None where the text is none."""
    if not _LIST.fullmatch(text.strip()):
        return None
    try:
        return [str(item) for item in ast.literal_eval(text.strip())]
    except (SyntaxError, ValueError):  # an escape that is none, or 007
        return None
