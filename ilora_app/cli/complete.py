"""Values for shell completion; every command imports this, and so nothing of ours."""

import os
from contextlib import suppress

# Here again, so that nothing of ours is imported.
TRACKERS = ("tensorboard", "wandb", "mlflow")


def presets(incomplete: str) -> list[str]:
    """Names of the presets that come with the app."""
    from ilora_app.launch import paths

    return [name for name in paths.presets() if name.startswith(incomplete)]


def superlinks(incomplete: str) -> list[str]:
    """Connections of Flower's config.toml."""
    import tomllib

    from ilora_app.settings import options

    home = options.folder(os.environ.get("FLWR_HOME", "~/.flwr"))
    names: list[str] = []
    with suppress(OSError, tomllib.TOMLDecodeError):
        found = tomllib.loads((home / "config.toml").read_text(encoding="utf-8"))
        links = found.get("superlink", {})
        names = [name for name, value in links.items() if isinstance(value, dict)]
    return [name for name in names if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Ids of the runs under ~/.ilora/runs."""
    from ilora_app.runs import history

    names = [run.id for run in history.listed(history.default_root())]
    return [name for name in names if name.startswith(incomplete)]


def strategies(incomplete: str) -> list[str]:
    """Names of the methods."""
    from ilora_app.settings.strategies import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def trackers(incomplete: str) -> list[str]:
    """Names of the trackers; after a comma, those that are not there yet."""
    before, comma, last = incomplete.rpartition(",")
    left = [name for name in TRACKERS if name not in before.split(",")]
    return [before + comma + name for name in left if name.startswith(last)]
