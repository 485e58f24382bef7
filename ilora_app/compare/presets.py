"""Presets: TOML run configs under ``configs/`` with their command in line one."""

import re
from dataclasses import dataclass, fields
from pathlib import Path

from ilora_app.compare import run_config
from ilora_app.launch import config_files
from ilora_app.launch.paths import presets as names_of
from ilora_app.settings import MethodSettings, options, parsing

# Keys of the method; presets that differ in these alone can be held together.
METHOD = (
    "strategy",
    "initialisation",
    "init-gain",
    *(parsing.key_of(entry.name) for entry in fields(MethodSettings)),
)


@dataclass(frozen=True)
class Preset:
    """A run config with a name.

    Args:
        name: of the file, without ``.toml``.
        settings: what differs from the defaults.
        clients: ``num-supernodes`` of the command in its first line.
        section: of the report; presets that fix a strategy share one.

    """

    name: str
    settings: tuple[tuple[str, object], ...]
    clients: int | None = None
    section: str = ""

    @property
    def strategy(self) -> str | None:
        """The strategy that it fixes, or None."""
        fixed = dict(self.settings).get("strategy")
        return None if fixed is None else str(fixed)


def load_presets(names: str, folder: Path) -> tuple[list[Preset], list[str]]:
    """Read presets by name, or by the path of a file.

    Returns:
        The presets, and every mistake in them.

    """
    presets: dict[str, Preset] = {}
    problems: list[str] = []
    for name in dict.fromkeys(part.strip() for part in names.split(",")):
        path = options.folder(name)
        if path.suffix not in config_files.ENDS:
            path = folder / f"{name}.toml"
        if not path.is_file():
            known = ", ".join(names_of(folder))
            right = f"one of {known}" if known else "the path of a .toml file"
            problems.append(f"--presets {name!r}: expected {right}")
            continue
        preset, wrong = read_preset(path)
        problems += [f"{path}: {problem}" for problem in wrong]
        if preset.name in presets:
            problems.append(f"--presets: two of them are named {preset.name}")
        presets[preset.name] = preset
    return _sections(list(presets.values())), problems


def placed(names: str) -> str:
    """The same names, with paths that are absolute."""
    parts = [part.strip() for part in names.split(",")]
    files = [part.endswith(config_files.ENDS) for part in parts]
    return ",".join(
        str(options.folder(part).absolute()) if file else part
        for part, file in zip(parts, files, strict=True)
    )


def read_preset(path: Path) -> tuple[Preset, list[str]]:
    """Read one preset; returns it and its mistakes."""
    found = config_files.read(path)
    if found.problems:
        return Preset(path.stem, ()), list(found.problems)
    settings, first = found.settings, found.first
    _, wrong = run_config.parse(settings)
    commented = first if first[:1] == "#" else ""
    number = re.search(r"num-supernodes=(\d{1,9})\b", commented)
    clients = int(number[1]) if number else None
    preset = Preset(path.stem, tuple(settings.items()), clients, path.stem)
    return preset, list(wrong.values())


def _sections(presets: list[Preset]) -> list[Preset]:
    """Put presets that fix a strategy and differ in the method alone together."""
    groups: dict[str, list[str]] = {}
    for preset in presets:
        if preset.strategy:
            groups.setdefault(_setting(preset), []).append(preset.name)
    return [
        Preset(
            preset.name,
            preset.settings,
            preset.clients,
            _title(groups[_setting(preset)]) if preset.strategy else preset.name,
        )
        for preset in presets
    ]


def _setting(preset: Preset) -> str:
    rest = {k: v for k, v in preset.settings if k not in METHOD}
    return repr((sorted(rest.items()), preset.clients))


def _title(names: list[str]) -> str:
    """What the names have in common before their first dash, else all of them."""
    first = {name.partition("-")[0] for name in names}
    return first.pop() if len(names) > 1 and len(first) == 1 else ", ".join(names)
