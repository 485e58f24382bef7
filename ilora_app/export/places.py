"""Which folder is a run, and how what cannot be exported is said; imports little."""

from pathlib import Path

from ilora_app.runs.places import CONFIG, RUNS
from ilora_app.settings import options

STUMBLES = (
    *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
    OverflowError,  # int of infinity
)
"""What reading values that no run has written ends in."""

LAST, BEST = "last", "best"


class ReleaseError(ValueError):
    """Something that cannot be exported or read: what, with which value, and why."""


def find_run(run: str) -> Path:
    """Find a run folder by its path or by its name under ``~/.ilora/runs``.

    Raises:
        ReleaseError: there is none.

    """
    folders = [options.folder(run), options.folder(RUNS) / run]
    for folder in folders:
        if run and (folder / CONFIG).is_file():
            return folder
    for place in folders[0].parents[:2]:
        if (place / CONFIG).is_file() and folders[0].is_dir():
            raise ReleaseError(
                f"{folders[0]} is a part of a run: expected {place} (with --round best "
                "for what is in best/)"
            )
    tried = " and ".join(dict.fromkeys(str(folder) for folder in folders))
    raise ReleaseError(
        f"run {run!r}: expected a run folder, with a config.toml in it; tried {tried}"
    )
