"""Runs the app through ``flwr run``, follows it, and says how it came out."""

import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from rich.console import Console

from ilora_app.cli import terminal
from ilora_app.cli.run_request import title_of
from ilora_app.compare.jobs import what_is_wrong
from ilora_app.launch.app_files import copy_app
from ilora_app.launch.flower_log import message, reason_in
from ilora_app.launch.superlink import SuperLink, SuperLinkError, existing, superlink
from ilora_app.runs.event_lines import MARK, plain
from ilora_app.runs.processes import stop
from ilora_app.runs.reading import events_of
from ilora_app.runs.worth import Worth
from ilora_app.settings import Settings, parsing
from ilora_app.watch.follow import Follower
from ilora_app.watch.state import FAILED, FINISHED, STOPPED, RunState
from ilora_app.watch.view import View

LOG = "flwr.log"
_LAST = 15
_AT_WORK, _ASK_EVERY = ("pending", "starting", "running"), 5.0
_VAGUE = "An error was encountered. Ending simulation."


@dataclass
class Outcome:
    """How a run came out.

    Attributes:
        status: finished, failed or stopped.
        reason: why it failed.
        folder: run folder; None where there is none.
        run_id: Flower's; None where no run was started.
        round, rounds: the last that is over, and how many were asked for.
        metrics: row of the last round.
        best: round, metric and value; None where the folder is not here.
        test: what the accuracy is worth; empty where the folder is not here.
        seconds: from the command to its end.

    """

    status: str = STOPPED
    reason: str = ""
    folder: str | None = None
    run_id: int | None = None
    round: int = 0
    rounds: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] | None = None
    test: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def worth(self) -> str:
        """What the accuracy is worth, for people; empty where it is not known."""
        return Worth(**self.test).line

    def line(self) -> str:
        """All of it as one line of JSON."""
        return terminal.as_json(asdict(self))


class Session:
    """One ``ilora run``.

    Args:
        settings: run config.
        federation: federation config for ``flwr run``.
        connection: name of a SuperLink that is there; empty starts one.
        console: for the view.
        ray_address: of a Ray cluster for the simulated clients; empty starts one.

    """

    def __init__(
        self,
        settings: Mapping[str, object],
        federation: str,
        connection: str,
        console: Console,
        ray_address: str = "",
    ) -> None:
        self._settings = {**settings, "log-events": True}
        self._federation, self._status = federation, ""
        self._connection, self._ray_address = connection, ray_address
        whole = parsing.dump(Settings()) | self._settings
        self._state = RunState(int(whole["num-server-rounds"]))
        self._view = View(console, self._state, title_of(settings))
        self._follower: Follower | None = None
        self._began = time.monotonic()

    def run(self) -> Outcome:
        """Run to the end; what was started is stopped, whatever happens.

        Raises:
            KeyboardInterrupt: the run was stopped; :meth:`outcome` says where it is.

        """
        with tempfile.TemporaryDirectory(
            prefix="ilora-run-", ignore_cleanup_errors=True
        ) as place:
            log = Path(place) / LOG
            try:
                return self._run(Path(place), log)
            except SuperLinkError as error:
                return self.outcome(FAILED, _with_log(str(error), Path(place)))
            finally:
                self._keep(log)

    def outcome(self, status: str = STOPPED, reason: str = "") -> Outcome:
        """What is known now."""
        follower, state = self._follower, self._state
        found = Outcome(
            status,
            plain(reason),
            round=max(state.round, 0),
            rounds=state.rounds,
            metrics=dict(state.rows[-1]) if state.rows else {},
            seconds=round(time.monotonic() - self._began, 1),
        )
        if follower:
            found.run_id = follower.run_id
            found.folder = str(follower.folder) if follower.folder else None
            if follower.folder and follower.local:
                with suppress(OSError, ValueError):
                    best = follower.folder / "best" / "best.json"
                    found.best = json.loads(best.read_text(encoding="utf-8"))
                found.test = asdict(Worth.of(state.rows, events_of(follower.folder)))
        return found

    def _run(self, place: Path, log: Path) -> Outcome:
        copy_app(place / "app", self._settings)
        run_config = place / "run.toml"
        text = tomli_w.dumps(self._settings)
        run_config.write_text(text, encoding="utf-8")
        with ExitStack() as stack:
            stack.enter_context(self._view.shown())
            self._view.doing = "starting the SuperLink"
            link = (
                existing(self._connection)
                if self._connection
                else stack.enter_context(superlink(place / "flower", self._ray_address))
            )
            self._view.doing = "starting the run"
            self._follow(link, place / "app", run_config, log)
            reason = self._reason(log)
        return self.outcome(FAILED if reason else FINISHED, reason)

    def _follow(self, link: SuperLink, app: Path, run_config: Path, log: Path) -> None:
        follower = self._follower = Follower(log, self._state, self._view)
        child = link.begin(app, str(run_config), self._federation, log)
        try:
            follower.follow(lambda: child.poll() is not None and self._is_over(link))
        except KeyboardInterrupt:
            follower.look()
            if self._connection and follower.run_id is not None:
                link.end_run(follower.run_id)
            raise
        finally:
            stop(child)

    def _is_over(self, link: SuperLink) -> bool:
        """Whether the run has ended, and not just the command that shows its log."""
        assert self._follower
        self._follower.look()
        number = self._follower.run_id
        if number is not None:
            self._status = link.statuses().get(number, "unknown")
            if self._status in _AT_WORK:
                time.sleep(_ASK_EVERY)
                return False
        return True

    def _reason(self, log: Path) -> str:
        """Why the run failed; empty where it did not."""
        assert self._follower
        said = log.read_text(encoding="utf-8", errors="replace")
        number, follower = self._follower.run_id, self._follower
        if number is None:
            return reason_in(said) or _last_lines(said) or "no run was started"
        status = self._status
        if status != "finished:completed":
            why = self._state.reason if self._state.status == FAILED else ""
            why = why or reason_in(said)
            if not why or _VAGUE in why:
                # What Flower says itself when an engine breaks down is no reason.
                why = f"{why or f'flwr list says {status}'}\n{_last_lines(said)}"
            return why
        if follower.folder and follower.local:
            return what_is_wrong(follower.folder)
        return ""

    def _keep(self, log: Path) -> None:
        """Leave the log in the run folder, which has the events of its own."""
        follower = self._follower
        if follower and follower.folder and follower.local:
            with suppress(OSError):
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                text = "".join(f"{line}\n" for line in lines if MARK not in line)
                (follower.folder / LOG).write_text(text, encoding="utf-8")


def _last_lines(log: str) -> str:
    lines = [message(line)[1] for line in log.splitlines()]
    return "\n".join([line for line in lines if line.strip()][-_LAST:])


def _with_log(reason: str, place: Path) -> str:
    """Add what the SuperLink said last: its file goes with the folder."""
    with suppress(OSError):
        said = (place / "flower" / "superlink.log").read_text(errors="replace")
        return f"{reason}\n{_last_lines(said)}".strip()
    return reason
