"""Folders of tensors and facts that are there whole or not at all.

A folder is written under a temporary name, every file and folder is flushed to the
disk, and then it gets its name. ``facts.json`` holds the SHA-256 of the tensors and of
the facts themselves, so that a reader knows a torn one.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ilora_app.runs.writing import flush

_TENSORS, _FACTS = "tensors.safetensors", "facts.json"
_FORMAT = 3
_HIDDEN, _OLD = ".", "-old"


class TornError(ValueError):
    """A folder that does not hold what was written, with what is wrong in it."""


def write(folder: Path, tensors: Mapping[str, Tensor], facts: Any) -> None:
    """Write a folder; one of that name is replaced.

    Args:
        folder: its parent is made where it is absent.
        tensors: by name; their order is kept.
        facts: what JSON can hold.

    Raises:
        OSError: the disk is full, or the place cannot be written.

    """
    # Copies: the format has no tensors that share their memory.
    copies = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    data = save(copies)
    whole = {
        "format": _FORMAT,
        "sha256": {_TENSORS: hashlib.sha256(data).hexdigest()},
        "order": list(tensors),
        "facts": facts,
    }
    text = json.dumps({**whole, "digest": _digest(whole)})
    with replacing(folder) as made:  # flushes them
        (made / _TENSORS).write_bytes(data)
        (made / _FACTS).write_bytes(text.encode())


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a new folder to write into; it gets its name when all is well.

    Raises:
        OSError: the place cannot be written.

    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.parent / f"{_HIDDEN}{folder.name}-{secrets.token_hex(4)}"
    made.mkdir()
    try:
        yield made
        for path in made.rglob("*"):
            flush(path)
        flush(made)
        if folder.exists():
            # Set aside first: a folder cannot be renamed over one that holds files.
            old = made.with_name(f"{made.name}{_OLD}")
            folder.rename(old)
            try:
                made.rename(folder)
            except OSError:
                old.rename(folder)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            made.rename(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def mend(folder: Path) -> None:
    """Finish or undo what a crash has left of :func:`replacing` a folder.

    Between its two renames the folder is away, whole, under its old one's name.
    """
    for old in folder.parent.glob(f"{_HIDDEN}{folder.name}-*{_OLD}"):
        if not folder.exists():
            old.rename(folder)
    for left in folder.parent.glob(f"{_HIDDEN}{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)


def read(folder: Path) -> tuple[dict[str, Tensor], Any]:
    """Read a folder that :func:`write` made: tensors in their order, and facts.

    Raises:
        TornError: a file is absent, cut off, or not what was written.

    """
    whole = _read_facts(folder / _FACTS)
    data = folder / _TENSORS
    try:
        with data.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != whole["sha256"][_TENSORS]:
            raise TornError(f"{data} is not what was written: its SHA-256 differs")
        with safe_open(data, framework="pt") as file:
            # A copy: memory of the file's own need not be aligned as torch's is.
            tensors = {name: file.get_tensor(name).clone() for name in whole["order"]}
    except (OSError, SafetensorError) as error:
        raise TornError(f"{data} cannot be read: {error}") from error
    return tensors, whole["facts"]


def numbered(parent: Path, prefix: str) -> dict[int, Path]:
    """Folders ``<prefix><number>`` by number, the highest first."""
    found = {
        int(path.name.removeprefix(prefix)): path
        for path in parent.glob(f"{prefix}*")
        if path.name.removeprefix(prefix).isdecimal() and path.is_dir()
    }
    return dict(sorted(found.items(), reverse=True))


def keep_newest(parent: Path, prefix: str, count: int) -> None:
    """Remove all but the ``count`` highest numbers, and what a crash left half done."""
    for path in list(numbered(parent, prefix).values())[count:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in parent.glob(f"{_HIDDEN}{prefix}*"):
        shutil.rmtree(path, ignore_errors=True)


_STUMBLES = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        digest = whole.pop("digest")
    except (OSError, *_STUMBLES) as error:
        raise TornError(f"{path} cannot be read: {error}") from error
    if digest != _digest(whole):
        raise TornError(f"{path} is not what was written: its SHA-256 differs")
    if whole["format"] != _FORMAT:
        form = whole["format"]
        raise TornError(f"{path} has format {form}; this version reads {_FORMAT}")
    return dict(whole)


def _digest(whole: dict[str, Any]) -> str:
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
