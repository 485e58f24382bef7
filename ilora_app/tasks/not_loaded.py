"""Why a data set could not be loaded, for people."""

from pathlib import Path

from ilora_app.tasks.listing import files_of
from ilora_app.tasks.places import TABLES

_NAMED = 3


def cause(error: BaseException) -> str:
    """First line of what was raised, and of what it was raised for."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    while error.__cause__:
        error = error.__cause__
    last = (str(error).splitlines() or [type(error).__name__])[0]
    whole = first if last in first else f"{first}: {last}"
    # It may quote a name that somebody has given, with whatever is in that.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in whole)


def why(name: str, place: Path, cause: str) -> str:
    """Say what could not be read, why, and what can be done."""
    if "corresponds to no data" in cause:  # datasets says so of a split without rows
        empty = cause.split('"')[1]
        return f"dataset = {name!r}: the split {empty} is empty"
    if empty := _empty(place):
        right = "expected rows in it, or no such file"
        return f"dataset = {name!r}: {empty} is empty; {right}"
    if place.is_file():
        return f"dataset = {name!r}: the file cannot be read ({cause})"
    if place.is_dir():
        return (
            f"dataset = {name!r}: the folder cannot be read ({cause}){_kinds(place)}; "
            "expected parquet, csv or jsonl files, all with the same columns, folders "
            "of images, texts or recordings by class, or what save_to_disk wrote"
        )
    return (
        f"dataset = {name!r}: no packaged set, no local file or folder, and not to be "
        f"had from the hub or its cache ({cause}). Log in if it is gated (hf auth "
        "login), or name a local folder, or leave dataset at its default, which is "
        "packaged"
    )


def _empty(place: Path) -> str:
    """Name of a table without a single byte; none where there is no such table."""
    files = files_of(place) if place.is_dir() else [place] if place.is_file() else []
    tables = (file for file in files if file.suffix.lower() in TABLES)
    return next((file.name for file in tables if not file.stat().st_size), "")


def _kinds(folder: Path) -> str:
    """Name a file of each kind, where a folder has several."""
    kinds = {file.suffix.lower(): file.name for file in reversed(files_of(folder))}
    if len(kinds) < 2:
        return ""
    named = " and ".join(sorted(kinds.values())[:_NAMED])
    return f"; it holds files of {len(kinds)} kinds, such as {named}"
