"""``manifest.json``: every file of an export with its SHA-256, and every tensor."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

NAME = "manifest.json"
_FORMAT = 1
_FILES, _FOLDERS = 0o644, 0o755


def write(folder: Path) -> None:
    """Write the manifest of a folder, and let others read all that is in it.

    safetensors makes files that their owner alone may read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = {
        "format": _FORMAT,
        "files": {
            path.relative_to(folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": _sha256(path),
            }
            for path in files
        },
        "tensors": {
            name: {"file": path.name, **about}
            for path in files
            if path.suffix == ".safetensors"
            for name, about in _tensors(path).items()
        },
    }
    (folder / NAME).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    folder.chmod(_FOLDERS)
    for path in folder.rglob("*"):
        path.chmod(_FOLDERS if path.is_dir() else _FILES)


def _tensors(file: Path) -> dict[str, dict[str, Any]]:
    """Shape and type of each tensor of a file, none of which is loaded."""
    with safe_open(file, framework="pt") as opened:
        slices = {name: opened.get_slice(name) for name in sorted(opened.keys())}
        return {
            name: {"shape": list(one.get_shape()), "dtype": one.get_dtype()}
            for name, one in slices.items()
        }


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
