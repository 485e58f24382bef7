"""Where runs lie, and names of files in them; imports nothing that takes time."""

import os
import re
from html import escape
from pathlib import Path

from ilora_app.settings import options

_VARIABLE = "ILORA_RUNS"

RUNS = os.environ.get(_VARIABLE) or "~/.ilora/runs"
"""Where runs lie that name no folder of their own."""


def node_states() -> str:
    """Where nodes keep their states that name no folder of their own."""
    return os.environ.get("ILORA_STATE") or "~/.ilora/nodes"


RUN_KEY = re.compile(r"[0-9a-f]{16}")
"""Name under which nodes keep their state of a run."""

LATEST = "latest"
"""Stands for the run that was last at work."""

CONFIG, EVENTS, METRICS = "config.toml", "events.jsonl", "metrics.csv"

MEMBERSHIP = "membership.json"
"""Result of a membership test on the model of a run."""

AUDIT = "audit.jsonl"
"""Of a node, in its own folder for a run."""


def from_home(text: str) -> str:
    """Write paths of a text that lie under the home folder from ``~``.

    Pages and cards are read by others, whom the rest of such a path tells who ran it.
    """
    home = options.folder("~")
    if not home.is_absolute() or home == home.parent:  # nobody's, as of a service
        return text
    names = {re.escape(escape(str(at))) for at in (home, home.resolve())}
    names |= {re.escape(str(at)) for at in (home, home.resolve())}
    return re.sub(rf"(?<![\w./~+-])(?:{'|'.join(sorted(names))})(?=/)", "~", text)


def outside(folder: Path) -> str:
    """Say that a folder is not where runs may lie, or nothing.

    Whoever sets ILORA_RUNS where ServerApps run confines them to it: a run config comes
    from another machine then.
    """
    root = os.environ.get(_VARIABLE)
    if not root:
        return ""
    place = options.folder(root)
    if folder.resolve().is_relative_to(place.resolve()):
        return ""
    return f"a folder under {place}, where {_VARIABLE} of the server has all runs"


def through_no_link(path: str, flags: int) -> int:
    """Open a file as ``open`` does, but not where its name is a link."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
