"""What the base model of an export is called, and where it is on this machine."""

import hashlib
import os
import re
from pathlib import Path

from ilora_app.export.places import ReleaseError
from ilora_app.settings import options
from ilora_app.tasks import models

VARIABLE = "ILORA_MODELS"
"""Names the folder that models lie in, by their names or as OWNER/NAME."""

_CACHED = re.compile(r"models--([^/\\]+?)--([^/\\]+)[/\\]snapshots[/\\]")
_ENDS = 1 << 20


def public(model: str, given: str = "") -> str:
    """Name of a model for others: its hub id, or the last part of a folder's name.

    Args:
        model: hub id or folder, as a run config has it.
        given: by whoever exports; empty: found.

    """
    if given:
        return given
    folder = options.folder(model)
    cached = _CACHED.search(f"{folder}/")
    if cached:
        return f"{cached[1]}/{cached[2]}"
    return folder.name if _local(model) else models.canonical(model)


def digest(model: str) -> str:
    """SHA-256 that tells one local model from others; empty for one of the hub.

    Of config.json, and of names, sizes and both ends of the weights: a model of many
    gigabytes is not read through.
    """
    folder = options.folder(model)
    if not _local(model):
        return ""
    found = hashlib.sha256()
    for file in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        try:
            with file.open("rb") as opened:
                size = file.stat().st_size
                found.update(f"{file.name} {size}\n".encode())
                found.update(opened.read(_ENDS))
                opened.seek(max(0, size - _ENDS))
                found.update(opened.read(_ENDS))
        except OSError:
            return ""
    return found.hexdigest()


def find(name: str, sha256: str, given: str = "") -> tuple[str, str]:
    """Find the base model of an export on this machine.

    Args:
        name: as the export has it.
        sha256: by :func:`digest`; empty where a hub has it.
        given: folder or hub id, by whoever predicts; empty: look for it.

    Returns:
        What to load, and what is to be said about it.

    Raises:
        ReleaseError: it was a folder of another machine, and is in none of the places.

    """
    if given:
        other = sha256 and digest(given) != sha256
        note = f"--base {given} is not, byte for byte, the model that was trained on"
        return given, note if other else ""
    if not sha256:
        return name, ""
    plain = Path(name).name == name
    for place in _places(name) if plain or name.count("/") == 1 else ():
        if digest(str(place)) == sha256:
            return str(place), ""
    if not plain:  # a hub id, or a path that the caller says is not there
        return name, ""
    raise ReleaseError(
        f"base model {name!r}: it was a folder on the machine that trained, and is not "
        f"here: expected --base FOLDER, or {VARIABLE} set to the folder that it lies in"
    )


def _local(model: str) -> bool:
    return options.folder(model).is_dir()


def _places(name: str) -> list[Path]:
    """Folders of that name: here, in that of the variable, and one below it."""
    found = [Path(name)]
    root = os.environ.get(VARIABLE)
    if root:
        place = options.folder(root)
        found += [place / name, *sorted(place.glob(f"*/{_literal(name)}"))]
    return [place for place in found if place.is_dir()]


def _literal(name: str) -> str:
    """Write a name such that a glob takes it as it is."""
    return re.sub(r"([*?\[])", r"[\1]", name)
