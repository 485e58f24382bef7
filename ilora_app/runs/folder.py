"""The run folder: config.toml, events.jsonl and metrics.csv."""

import csv
import json
import time
from typing import Any

import tomli_w

from ilora_app import options
from ilora_app.config import dump
from ilora_app.settings import Settings


class RunFolder:
    """Records a run as it goes; a reader sees whole lines and whole files only.

    Args:
        settings: as resolved; written to config.toml.
        run_id: Flower's id of the run, part of the default name.

    """

    def __init__(self, settings: Settings, run_id: int) -> None:
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{run_id}"
        given = settings.run.output_dir
        self.path = options.folder(given or f"~/.ilora/runs/{name}")
        self.path.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        """The rounds so far, as in metrics.csv."""
        resolved = dump(settings) | {"output-dir": str(self.path)}
        text = tomli_w.dumps(resolved)
        (self.path / "config.toml").write_text(text, encoding="utf-8")

    def event(self, kind: str, **facts: Any) -> None:
        """Append to events.jsonl; a round also becomes a row of metrics.csv."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **facts})
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if kind == "round":
            self.rows.append(facts)
            self._write_metrics()

    def _write_metrics(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        first = ["round", "accuracy", "loss"]
        columns = first + [column for column in columns if column not in first]
        temporary = self.path / ".metrics.csv.tmp"
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(self.path / "metrics.csv")
