"""Folders whose rows are files: by class, or beside a table that names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ilora_app.settings.data import TEST, TRAIN
from ilora_app.tasks import split_names
from ilora_app.tasks.encodings import encoding
from ilora_app.tasks.listing import files_of
from ilora_app.tasks.places import TABLES, DataError
from ilora_app.tasks.tables import open_file

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

IMAGES = frozenset(
    {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm"}
)
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})
_LOOKED_AT = 50
_METADATA = "metadata"
"""Stem of a table that names the files beside it, as ``datasets`` has it."""


def open_classes(folder: Path) -> DatasetDict | None:
    """Read files in folders by class: CLASS/x.txt, or SPLIT/CLASS/x.wav.

    By position alone: ``datasets`` takes a folder test anywhere for a split, and has
    the images of train/test, which is a class, in both.

    Returns:
        The columns text, image or audio, and label; None where the folder holds
        anything else than one of them, and for images that are not so by class.

    """
    files = files_of(folder)
    paths = [file.relative_to(folder).parts for file in files]
    ends = {file.suffix.lower() for file in files}
    depths = {len(parts) for parts in paths}
    name = "text" if ends == {".txt"} else "image" if ends <= IMAGES else "audio"
    if not files or depths not in ({2}, {3}):
        return None
    if name == "audio" and not ends <= SOUNDS:
        return None
    splits = {parts[0]: parts[0] for parts in paths}
    if name == "image":
        splits = {first: split_names.meant(first) for first in splits}
        if all(splits.values()) != (depths == {3}):
            return None
    read = _text if name == "text" else str
    rows: dict[str, list[tuple[str, str]]] = {}
    for file, parts in zip(files, paths, strict=True):
        split = splits[parts[0]] if len(parts) == 3 else TRAIN
        rows.setdefault(split, []).append((read(file), parts[-2]))
    return _by_class(name, rows)


def open_beside(folder: Path) -> DatasetDict | None:
    """Read tables that name files which lie beside them, a split each.

    ``train.csv`` has the name of a split, ``train/metadata.csv`` lies in its folder;
    one table alone is the training split.

    Returns:
        None where there are no tables, or no images and recordings beside them; and
        for images beside a metadata file, which ``datasets`` reads.

    """
    files = files_of(folder)
    tables = [file for file in files if file.suffix.lower() in TABLES]
    others = {f.suffix.lower() for f in files if f.suffix.lower() not in TABLES}
    if not tables or not others or not others <= IMAGES | SOUNDS:
        return None
    if others <= IMAGES and any(table.stem == _METADATA for table in tables):
        return None
    found: dict[str, Dataset] = {}
    for table in tables:
        split = table.stem
        if len(tables) == 1:
            split = TRAIN
        elif split == _METADATA:
            split = table.parent.name
        if split in found:
            raise DataError(
                f"dataset = {str(folder)!r}: expected one table a split, found two for "
                f"{split}",
                "its data folder has two tables for one split",
            )
        found[split] = typed(open_file(table), table.parent)
    return _ordered(found)


def texts_of(rows: Dataset, most: int) -> dict[str, list[str | None]]:
    """The first values of every column of texts.

    All at once: reading a column by itself takes as long as the table has columns.
    """
    texts = [
        name
        for name, feature in rows.features.items()
        if getattr(feature, "dtype", "") in ("string", "large_string")
    ]
    found: dict[str, list[str | None]] = rows.select_columns(texts)[:most]
    return found


def typed(rows: Dataset, base: Path) -> Dataset:
    """Have columns that name files hold files: of images, or of recordings.

    Such a column has nothing but texts with the ends of such files, of which one is
    there; what is no absolute path is relative to the table.

    Args:
        rows: of one table.
        base: the table's folder.

    """
    import datasets

    for name, values in texts_of(rows, _LOOKED_AT).items():
        first = [value for value in values if value]
        ends = {Path(value).suffix.lower() for value in first}
        kind = datasets.Image() if ends <= IMAGES else datasets.Audio(decode=False)
        if not ends or not (ends <= IMAGES or ends <= SOUNDS):
            continue
        if not any((base / value).is_file() for value in first):
            continue
        places = [str(base / value) if value else None for value in rows[name]]
        changed = rows.remove_columns([name]).add_column(name, places)
        rows = changed.select_columns(rows.column_names).cast_column(name, kind)
    return rows


def undecoded(splits: DatasetDict) -> DatasetDict:
    """Have columns of audio give files: decoding them wants another library."""
    from datasets import Audio

    for name, rows in splits.items():
        for column, feature in rows.features.items():
            if isinstance(feature, Audio) and feature.decode:
                rows = rows.cast_column(column, Audio(decode=False))
        splits[name] = rows
    return splits


def _text(file: Path) -> str:
    return file.read_text(encoding=encoding(file).encoding)


def _by_class(name: str, rows: dict[str, list[tuple[str, str]]]) -> DatasetDict:
    from datasets import Audio, ClassLabel, Dataset, Features, Image, Value

    classes = sorted({label for part in rows.values() for _, label in part})
    kinds = {
        "text": Value("string"), "image": Image(), "audio": Audio(decode=False),
    }  # fmt: skip
    held = kinds[name]
    features = Features({name: held, "label": ClassLabel(names=classes)})

    def table(part: list[tuple[str, str]]) -> Dataset:
        # Encoding audio wants another library, even where there is nothing to encode.
        values = [value for value, _ in part]
        held = (
            values if name == "text" else [{"path": v, "bytes": None} for v in values]
        )
        ids = [classes.index(label) for _, label in part]
        return Dataset.from_dict({name: held, "label": ids}).cast(features)

    return _ordered({split: table(part) for split, part in rows.items()})


def _ordered(splits: dict[str, Dataset]) -> DatasetDict:
    from datasets import DatasetDict

    order = sorted(splits, key=lambda name: (name != TRAIN, name != TEST, name))
    return DatasetDict({name: splits[name] for name in order})
