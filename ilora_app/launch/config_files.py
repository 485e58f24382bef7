"""A run config in a TOML or YAML file; imports nothing that takes time."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ilora_app.launch.paths import CONFIGS, PACKAGE, presets
from ilora_app.runs.places import LATEST
from ilora_app.settings import options

ENDS = (".toml", ".yaml", ".yml")
"""Of the names of config files."""

PLACES = ("model", "dataset", "output-dir", "resume")
"""Keys whose value may be a folder or a file."""


@dataclass(frozen=True)
class ConfigFile:
    """What a file says.

    Attributes:
        settings: by key, unchecked; a folder or file beside it is absolute.
        first: its first line.
        problems: why it cannot be read.

    """

    settings: dict[str, Any] = field(default_factory=dict)
    first: str = ""
    problems: tuple[str, ...] = ()


def find(name: str) -> Path | str:
    """Find a preset by its name, or a config file by its path; else what is right."""
    path = options.folder(name)
    if path.suffix.lower() not in ENDS:
        path = CONFIGS / f"{name}.toml"
    if path.is_file():
        return path
    known = ", ".join(presets())
    right = f"the path of a {', '.join(ENDS[:-1])} or {ENDS[-1]} file"
    return f"expected {right}{f', or one of {known}' if known else ''}"


def read(path: Path) -> ConfigFile:
    """Read a file of keys and values."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return ConfigFile(problems=(f"cannot be read as UTF-8: {error}",))
    first = text.partition("\n")[0]
    try:
        found = _yaml(text) if path.suffix.lower() != ".toml" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # so are numbers of many digits
        kind = "TOML" if path.suffix.lower() == ".toml" else "YAML of keys and values"
        return ConfigFile({}, first, (f"not {kind}: {error}",))
    folder = path.resolve().parent
    for key in PLACES:
        if isinstance(value := found.get(key), str):
            found[key] = absolute(key, value, folder)
    return ConfigFile(found, first)


def absolute(key: str, value: str, base: Path | None = None) -> str:
    """Make a file or folder absolute: the app has no working directory.

    A name that may be that of a hub or of a package stays as it is, unless it is that
    of data, or has a slash, and there is such a folder.

    Args:
        key: of the run config.
        value: of the key.
        base: what a relative name is of; else the working directory.

    """
    if not value or value.startswith("$") or (key == "resume" and value == LATEST):
        return value
    if options.place(value):  # no system can look for it
        return value
    place = (base or Path.cwd()) / options.folder(value)
    written_as_path = value.startswith((".", "/", "~"))
    if key in ("output-dir", "resume") or written_as_path:
        return str(place.resolve())
    data = key == "dataset"
    if data and value.isidentifier() and (PACKAGE / "data" / value).is_dir():
        return value
    there = place.is_dir() or (data and place.is_file())
    return str(place.resolve()) if there and (data or "/" in value) else value


def _yaml(text: str) -> dict[str, Any]:
    """Read keys and values.

    Raises:
        ValueError: it is something else.

    """
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(found or {}, dict):
        raise ValueError("expected lines of key: value")
    return {str(key): value for key, value in (found or {}).items()}
