"""How a file of text is written: UTF-8, or what its bytes may be else."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Written:
    """How a file of text is written.

    Attributes:
        encoding: UTF-8 where its bytes are that, else a guess.
        guessed: the encoding is a guess.

    """

    encoding: str
    guessed: bool = False


@cache
def encoding(file: Path) -> Written:
    """Find out how a file of text is written, by all of its bytes."""
    with file.open("rb") as opened:
        begin = opened.read(4)
        for mark, name in _MARKS:
            if begin.startswith(mark):
                return Written(name)
        opened.seek(0)
        reader = codecs.getincrementaldecoder("utf-8")()
        try:
            while block := opened.read(2**20):
                reader.decode(block)
            reader.decode(b"", final=True)
        except UnicodeDecodeError:
            return Written("cp1252" if _decodes(file, "cp1252") else "latin-1", True)
    return Written("utf-8")


def _decodes(file: Path, name: str) -> bool:
    try:
        codecs.decode(file.read_bytes(), name)
    except UnicodeDecodeError:
        return False
    return True
