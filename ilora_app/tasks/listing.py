"""Which files of a folder are data."""

from pathlib import Path

_OF_WINDOWS = ("thumbs.db", "desktop.ini")


def files_of(folder: Path) -> list[Path]:
    """Files of a folder and of folders in it, but what is no data anywhere.

    That are hidden files, a plain README.md, and what Windows leaves in folders.
    """
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not any(part[0] == "." for part in file.relative_to(folder).parts)
        and file.name.casefold() not in _OF_WINDOWS
        and not (file.name == "README.md" and not is_card(file))
    ]


def is_card(file: Path) -> bool:
    """Whether a README.md says to ``datasets`` what lies where."""
    with file.open("rb") as opened:
        return opened.read(3) == b"---"
