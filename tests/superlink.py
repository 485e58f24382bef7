"""The SuperLink of ``ilora compare``, with a run config from Python for tests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ilora_app.launch import superlink as own

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class SuperLink:
    """Runs the app of this repository in its simulation engine."""

    link: own.SuperLink

    def run(self, run_config: dict[str, Any], federation: str, timeout: float) -> str:
        """``flwr run`` to its end; returns the log."""
        pairs = " ".join(f"{k}={_toml(v)}" for k, v in run_config.items())
        log = self.link.home / "run.log"
        self.link.run(ROOT, pairs, federation, log, timeout)
        return log.read_text()

    def statuses(self) -> list[str]:
        """Status of every run, the newest first."""
        return list(self.link.statuses().values())


@contextmanager
def superlink(home: Path) -> Iterator[SuperLink]:
    """Start a SuperLink with the simulation engine, and stop it at the end."""
    with own.superlink(home) as link:
        yield SuperLink(link)


def _toml(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)
