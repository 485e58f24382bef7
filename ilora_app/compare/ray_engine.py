"""Runs jobs through ``flwr run``, in Flower's Ray engine."""

import re
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ilora_app.compare.engines import Watch
from ilora_app.compare.jobs import Job, Record
from ilora_app.compare.superlink import SuperLink, SuperLinkError, superlink

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL)\s*:\s+")
_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")
_APP = ("pyproject.toml", "README.md", "LICENSE", "ilora_app")


class RayEngine:
    """``flwr run``, one after the other, against a SuperLink of its own.

    Args:
        folder: for the SuperLink's files.
        app: folder of the app; a copy of it is run, so that nothing else travels.

    """

    name = "ray"

    def __init__(self, folder: Path, app: Path) -> None:
        self._folder, self._app = folder, app
        self._stack = ExitStack()
        self._link: SuperLink | None = None

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run one job after the other."""
        for job in jobs:
            watch.started(job)
            clock = time.perf_counter()
            job.prepare()
            try:
                reason = self._run(job)
            except SuperLinkError as error:
                reason = str(error)
                self.close()  # and the next job gets a new one
            record = Record.of(job, self.name, reason, time.perf_counter() - clock)
            job.close(record)
            watch.ended(job, record)

    def close(self) -> None:
        """Stop the SuperLink."""
        self._link = None
        self._stack.close()

    def _run(self, job: Job) -> str:
        link = self._start()
        federation = f"num-supernodes={job.clients} client-resources-num-cpus=1"
        app = self._folder / "app"
        number = link.run(app, str(job.config_file), federation, job.log)
        status = link.statuses().get(number) if number is not None else "not started"
        if status == "finished:completed":
            return ""
        return reason_in(job.log.read_text(encoding="utf-8", errors="replace")) or (
            f"flwr list says {status}"
        )

    def _start(self) -> SuperLink:
        if self._link is None:
            _copy_app(self._app, self._folder / "app")
            self._link = self._stack.enter_context(superlink(self._folder / "home"))
        return self._link


def reason_in(log: str) -> str:
    """Find the last error in what ``flwr run --stream`` said."""
    lines = [_COLOUR.sub("", line).rstrip() for line in log.splitlines()]
    block: list[str] = []
    found: list[str] = []
    for line in lines:
        if level := _LEVEL.match(line):
            error = level[1] in ("ERROR", "CRITICAL") and "Exit Code:" not in line
            block = [line[level.end() :]] if error else []
            found = block if error else found
        elif block and line.strip():
            block.append(line)
        elif line.startswith("│"):
            found = [*found, line] if found and found[-1][:1] == "│" else [line]
    raised = [line for line in found if _RAISED.match(line)]
    if any(line.startswith("Traceback") for line in found) and raised:
        found = found[found.index(raised[-1]) :]
    return "\n".join(line.strip("│ ") for line in found)


def _copy_app(source: Path, target: Path) -> None:
    """Copy what a run needs, and nothing that happens to lie beside it."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in _APP:
        path = source / name
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, target / name, ignore=ignored)
        elif path.is_file():
            shutil.copy2(path, target / name)
