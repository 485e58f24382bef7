"""Licences of the base model and of the data, where a card on this machine has them."""

import os
from pathlib import Path

import yaml
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.repocard import metadata_load

from ilora_app.tasks import models, sources

NOT_STATED = "not stated"


def of_base(name: str) -> str:
    """Licence of a base model: by its package, its folder, or the hub's cache."""
    package = models.PACKAGES.get(models.canonical(name))
    if package:
        return package.licence
    try:
        where, local = models.locate(name)
    except models.ModelError:
        return NOT_STATED
    return _of_folder(Path(where)) if local else _cached(where, "model")


def of_data(name: str) -> str:
    """Licence of a data set: packaged, a local folder with a card, or cached."""
    try:
        where = sources.resolve(name)
    except sources.DataError:
        return NOT_STATED
    folder = Path(where)
    return _of_folder(folder) if folder.is_dir() else _cached(where, "dataset")


def _of_folder(folder: Path) -> str:
    return _of_card(folder / "README.md")


def _cached(name: str, kind: str) -> str:
    try:
        card = try_to_load_from_cache(name, "README.md", repo_type=kind)
    except ValueError:  # no name of the hub
        return NOT_STATED
    found = isinstance(card, str | os.PathLike)
    return _of_card(Path(str(card))) if found else NOT_STATED


def _of_card(path: Path) -> str:
    """Read ``license`` in the metadata of a card: one, or several."""
    try:
        metadata = metadata_load(path) if path.is_file() else None
    except (OSError, ValueError, yaml.YAMLError):
        return NOT_STATED
    found = (metadata or {}).get("license")
    if found == "other":
        found = (metadata or {}).get("license_name") or found
    if isinstance(found, list):
        return ", ".join(str(name) for name in found) or NOT_STATED
    return str(found) if found else NOT_STATED
