"""One run of a comparison: its config, its files, and how it came out."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from ilora_app.runs import writing
from ilora_app.runs.machine import hardware, versions
from ilora_app.runs.places import METRICS
from ilora_app.runs.reading import events_of
from ilora_app.settings import Settings, parsing

FINISHED, FAILED = "finished", "failed"


@dataclass(frozen=True)
class Job:
    """A row under a preset at one learning rate with one seed.

    Args:
        preset: name of the preset.
        row: name of the row.
        rate: learning rate.
        seed: of the run.
        clients: how many.
        folder: the app's ``output-dir``; its files are that name with a suffix.
        config: whole run config.

    """

    preset: str
    row: str
    rate: float
    seed: int
    clients: int
    folder: Path
    config: Mapping[str, object] = field(compare=False)

    @property
    def title(self) -> str:
        """How it is named to people."""
        return f"{self.preset} / {self.row} / lr {self.rate:g} / seed {self.seed}"

    @property
    def log(self) -> Path:
        """File with what the run said."""
        return self._beside(".log")

    @property
    def config_file(self) -> Path:
        """File for ``flwr run --run-config``."""
        return self._beside(".toml")

    def prepare(self) -> None:
        """Remove what an interrupted run has left, and write the run config."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._beside(".json").unlink(missing_ok=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        text = tomli_w.dumps(dict(self.config))
        self.config_file.write_text(text, encoding="utf-8")

    def record(self) -> "Record | None":
        """How it came out; None where that is not known, or its result is gone.

        Such a run is run again.
        """
        try:
            found = Record.parsed(self._beside(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        lost = not (self.folder / METRICS).is_file()
        return None if found.status == FINISHED and lost else found

    def close(self, record: "Record") -> None:
        """Write down how it came out, so that a loss of power leaves all of it or none.

        Raises:
            OSError: the disk is full, or the place cannot be written.

        """
        text = json.dumps(asdict(record), indent=1)
        writing.whole(self._beside(".json"), text, flushed=True)

    def differences(self, record: "Record") -> list[str]:
        """Keys in which a finished run is another one than this."""
        then = dict(parsing.dump(Settings())) | record.config
        now = {**self.config}
        for settings in (then, now):
            for key in ("output-dir", "keep-checkpoints"):
                settings.pop(key, None)
        keys = [key for key in {**now, **then} if then.get(key) != now.get(key)]
        shown = parsing.shown
        found = [
            f"{key} ({shown(then.get(key))}, now {shown(now.get(key))})" for key in keys
        ]
        if record.clients != self.clients:
            found.append(f"clients ({record.clients}, now {self.clients})")
        return found

    def _beside(self, suffix: str) -> Path:
        return self.folder.with_name(self.folder.name + suffix)


@dataclass(frozen=True)
class Record:
    """How a run came out, and with what it was run."""

    status: str
    reason: str
    seconds: float
    engine: str
    clients: int
    config: dict[str, Any]
    versions: dict[str, str]
    hardware: str

    @classmethod
    def parsed(cls, text: str) -> "Record":
        """Read a record as JSON.

        Raises:
            ValueError, TypeError, RecursionError: it is none.

        """
        found = cls(**json.loads(text))
        texts = found.status, found.reason, found.engine, found.hardware
        tables = found.config, found.versions
        numbers = found.seconds, found.clients
        for values, kind in ((texts, str), (tables, dict), (numbers, int | float)):
            if not all(isinstance(value, kind) for value in values):
                raise TypeError(f"expected {kind} in {values}")
        return found

    @classmethod
    def of(cls, job: Job, engine: str, reason: str, seconds: float) -> "Record":
        """Record of a run that has just ended; with a reason it failed."""
        reason = reason or what_is_wrong(job.folder)
        return cls(
            FAILED if reason else FINISHED,
            reason,
            round(seconds, 1),
            engine,
            job.clients,
            dict(job.config),
            versions(),
            hardware(),
        )


def what_is_wrong(folder: Path) -> str:
    """Why a run folder holds no result though its run came to an end, or nothing."""
    if not (folder / METRICS).is_file():
        return "the run left no metrics.csv"
    events = events_of(folder)

    def of(kind: str, fact: str) -> list[Any]:
        return [e.get(fact) for e in events if e.get("event") == kind]

    rounds = set(of("round", "round")) - {0}
    if not rounds or rounds - set(of("model-unchanged", "round")):
        return ""
    why = of("reply-left-out", "reason")
    return f"no round changed the model: {why[-1] if why else 'no replies'}"
