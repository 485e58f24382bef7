"""``/metrics`` of a run: counts of its events, for Prometheus to fetch over HTTP.

Numbers of the whole federation alone: no name, key or address of a node is a label.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from logging import INFO, WARNING
from typing import Any
from wsgiref.simple_server import WSGIServer

from flwr.supercore import log
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    disable_created_metrics,
    start_http_server,
)

_ENDS = ("finished", "failed", "stopped")
# Of a row of metrics.csv: suffix of its columns -> what the messages were for.
_PURPOSES = {
    "": "train",
    "_evaluate": "evaluate",
    "_head": "head",
    "_secure": "secure",
}
_PHASES = ("train", "aggregate", "evaluate", "head")
_COUNTED = {
    "round",
    "messages_secure",
    *(f"seconds_{phase}" for phase in _PHASES),
    *(f"{what}{suffix}" for what in ("bytes_down", "bytes_up") for suffix in _PURPOSES),
}


class RunMetrics:
    """Counts of a run, as Prometheus has them.

    Args:
        strategy: of the run.

    """

    def __init__(self, strategy: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        to = self.registry
        self._strategy = strategy
        self._run = Info(
            "ilora_run", "Flower's id of the run, and its strategy.", registry=to
        )
        self._rounds = Gauge("ilora_rounds", "Rounds that were asked for.", registry=to)
        self._round = Gauge("ilora_round", "The last round that is over.", registry=to)
        self._at = Gauge(
            "ilora_round_timestamp_seconds", "When the last round ended.", registry=to
        )
        self._members = Gauge("ilora_members", "Nodes met that take part.", registry=to)
        self._left_out = Gauge(
            "ilora_nodes_left_out", "Nodes met that cannot take part.", registry=to
        )
        self._struck_out = Gauge(
            "ilora_nodes_struck_out", "Members that are asked no more.", registry=to
        )
        self._asked = Counter(
            "ilora_asked", "Messages to nodes.", ["purpose"], registry=to
        )
        self._replies = Counter(
            "ilora_replies",
            "Replies: used (the shrunk among them), left_out, shrunk, passed_over.",
            ["purpose", "outcome"],
            registry=to,
        )
        self._bytes = Counter(
            "ilora_bytes",
            "Bytes of contents: down to the nodes, up from them.",
            ["purpose", "direction"],
            registry=to,
        )
        self._seconds = Counter(
            "ilora_phase_seconds",
            "Seconds of the rounds, by phase.",
            ["phase"],
            registry=to,
        )
        self._unchanged = Counter(
            "ilora_rounds_unchanged",
            "Rounds that left the model as it was.",
            registry=to,
        )
        self._measures = Gauge(
            "ilora_measure",
            "All else in the last row of metrics.csv, such as accuracy and loss.",
            ["column"],
            registry=to,
        )
        for outcome in ("used", "left_out", "shrunk", "passed_over"):
            self._replies.labels("train", outcome)
        for phase in ("train", "aggregate", "evaluate"):
            self._seconds.labels(phase)
        for direction in ("down", "up"):
            self._bytes.labels("train", direction)

    def take(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Take an event as it stands in events.jsonl."""
        if kind in ("started", "resumed"):
            run = str(facts["run"])
            self._run.info({"run": run, "strategy": self._strategy})
            self._rounds.set(facts["rounds"])
            self._round.set(facts.get("after_round", 0))
        elif kind == "round":
            self._row(facts)
        elif kind == "measured":
            self._measured(facts)
        elif kind == "asked":
            self._asked.labels(facts["purpose"]).inc(facts["clients"])
        elif kind == "member":
            self._members.inc()
        elif kind == "node-left-out":
            self._left_out.inc()
        elif kind == "node-struck-out":
            self._struck_out.inc()
        elif kind == "reply-left-out":
            self._replies.labels(facts["purpose"], "left_out").inc()
        elif kind == "update-shrunk":
            self._replies.labels(facts["purpose"], "shrunk").inc()
        elif kind == "passed-over":
            self._replies.labels("train", "passed_over").inc(len(facts["nodes"]))
        elif kind == "model-unchanged":
            self._unchanged.inc()

    def _row(self, row: Mapping[str, Any]) -> None:
        self._round.set(row["round"])
        self._at.set_to_current_time()
        self._replies.labels("train", "used").inc(row.get("clients", 0))
        if asked := row.get("messages_secure"):
            self._asked.labels("secure").inc(asked)
        for suffix, purpose in _PURPOSES.items():
            for way in ("down", "up"):
                if amount := row.get(f"bytes_{way}{suffix}"):
                    self._bytes.labels(purpose, way).inc(amount)
        for phase in _PHASES:
            if spent := row.get(f"seconds_{phase}"):
                self._seconds.labels(phase).inc(spent)
        # What this round did not measure is not said to be of it.
        self._measures.clear()
        self._measured(row)

    def _measured(self, row: Mapping[str, Any]) -> None:
        if evaluated := row.get("clients_evaluated"):
            self._replies.labels("evaluate", "used").inc(evaluated)
        for column, value in row.items():
            if column not in _COUNTED and isinstance(value, int | float):
                self._measures.labels(column).set(value)


class MetricsEndpoint:
    """Serves the counts of a run until it ends; no failure of its own ends the run.

    Args:
        host: address of this machine to listen on.
        port: of it; 0 takes a free one.
        strategy: of the run.

    """

    def __init__(self, host: str, port: int, strategy: str) -> None:
        self._metrics = RunMetrics(strategy)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None
        self.port = port
        try:
            self._server, self._thread = start_http_server(
                port, host, self._metrics.registry
            )
        except (OSError, OverflowError) as error:
            log(
                WARNING,
                "metrics-port = %d: expected a free port of %s (metrics-host), and %s; "
                "the run goes on without /metrics",
                port,
                host,
                error,
            )
            return
        self.port = self._server.server_port
        log(INFO, "Metrics: http://%s:%d/metrics", host, self.port)

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Take an event, and end with the run."""
        if self._server is None:
            return
        try:
            self._metrics.take(kind, facts)
        except Exception as error:
            # One event less: those to come are counted all the same.
            log(WARNING, "/metrics lacks %s: %s", kind, type(error).__name__)
        if kind in _ENDS:
            self._close()

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            with suppress(OSError):
                server.shutdown()
                server.server_close()
            self._thread.join(5)
