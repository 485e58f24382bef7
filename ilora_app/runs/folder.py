"""The run folder: config.toml, events.jsonl and metrics.csv."""

import csv
import io
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from ilora_app.runs import lock
from ilora_app.runs.event_lines import EventLines
from ilora_app.runs.places import CONFIG, EVENTS, METRICS, RUNS
from ilora_app.runs.writing import Attempts, Journal, PlaceError, whole
from ilora_app.settings import Settings, options
from ilora_app.settings.parsing import dump
from ilora_app.track import Trackers
from ilora_app.track.metrics_endpoint import MetricsEndpoint


class RunFolder:
    """Records a run as it goes; a reader sees whole lines and whole files only.

    Args:
        settings: as resolved; written to config.toml.
        run_id: Flower's id of the run, part of the default name.
        resumed: the folder of a run that goes on; None begins one.
        rows: its rounds so far.

    Raises:
        BusyError: another server is at work in the folder.
        PlaceError: it cannot be written.

    """

    def __init__(
        self,
        settings: Settings,
        run_id: int,
        resumed: Path | None = None,
        rows: Sequence[dict[str, Any]] = (),
    ) -> None:
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{run_id}"
        given = settings.run.output_dir
        self.path = resumed or options.folder(given or f"{RUNS}/{name}")
        self.rows: list[dict[str, Any]] = list(rows)
        """The rounds so far, as in metrics.csv."""
        after = self.rows[-1]["round"] if resumed else None
        resolved = dump(settings) | {"output-dir": str(self.path), "resume": ""}
        self._events = Journal(self.path / EVENTS)
        self._metrics = Attempts(self.path / METRICS)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = lock.hold(self.path)
            whole(self.path / CONFIG, tomli_w.dumps(resolved))
            self._events.mend()
        except OSError as error:
            text = f"the run folder {self.path} cannot be written: {error}"
            raise PlaceError(text) from error
        self._lines = (
            EventLines(str(self.path)) if settings.keeping.log_events else None
        )
        keeping = settings.keeping
        port, host = keeping.metrics_port, keeping.metrics_host
        self._endpoint = (
            MetricsEndpoint(host, port, settings.run.strategy) if port else None
        )
        names = options.names(keeping.track)
        self._trackers = Trackers(names, self.path, resolved, after)
        # Who runs it, so that a reader can tell a run from what a crash has left.
        facts = {
            "run": run_id,
            "rounds": settings.run.num_server_rounds,
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        if after is None:
            self.event("started", **facts)
            return
        self.event("resumed", after_round=after, **facts)
        # A round that was recorded and not finished is run again.
        self._write_metrics()

    @contextmanager
    def outcome(self) -> Iterator[None]:
        """Record how the run ends: finished, failed with the reason, or stopped."""
        try:
            yield
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self.event("failed", reason=reason)
            raise
        except BaseException:
            self.event("stopped")
            raise
        else:
            self.event("finished")
        finally:
            self._lock.close()

    def event(self, kind: str, **facts: Any) -> None:
        """Append to events.jsonl; a round becomes a row of metrics.csv.

        What does not fit on the disk is a warning, and written when there is room.
        """
        stamp = {"time": round(time.time(), 3), "event": kind}
        self._events.append(json.dumps({**stamp, **facts}))
        if kind == "round":
            self.rows.append(facts)
            self._write_metrics()
        if kind == "measured":
            # Clients have measured a round when they trained in the next one.
            for row in self.rows:
                if row["round"] == facts["round"]:
                    row.update(facts)
            self._write_metrics()
        self._trackers.event(kind, facts)
        for more in (self._lines, self._endpoint):
            if more:
                more.event(kind, facts)

    def _write_metrics(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        first = ["round", "accuracy", "loss"]
        columns = first + [column for column in columns if column not in first]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        with self._metrics.attempt():
            whole(self.path / METRICS, text.getvalue())
