"""Values for shell completion; nothing here imports what takes time."""

import os
import tomllib
from contextlib import suppress
from pathlib import Path

from ilora_app import own_folder


def presets(incomplete: str) -> list[str]:
    """Names of the presets that come with the app."""
    return [name for name in own_folder.presets() if name.startswith(incomplete)]


def superlinks(incomplete: str) -> list[str]:
    """Connections of Flower's config.toml."""
    home = Path(os.environ.get("FLWR_HOME", "~/.flwr")).expanduser()
    names: list[str] = []
    with suppress(OSError, tomllib.TOMLDecodeError):
        found = tomllib.loads((home / "config.toml").read_text(encoding="utf-8"))
        links = found.get("superlink", {})
        names = [name for name, value in links.items() if isinstance(value, dict)]
    return [name for name in names if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Ids of the runs under ~/.ilora/runs."""
    from ilora_app import history

    names = [run.id for run in history.listed(history.default_root())]
    return [name for name in names if name.startswith(incomplete)]
