"""Runs jobs through ``flwr run``, in Flower's Ray engine."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ilora_app.compare.engines import Watch
from ilora_app.compare.jobs import Job, Record
from ilora_app.launch.app_files import copy_app
from ilora_app.launch.flower_log import reason_in
from ilora_app.launch.superlink import SuperLink, SuperLinkError, superlink


class RayEngine:
    """``flwr run``, one after the other, against a SuperLink of its own.

    Args:
        folder: for the SuperLink's files, and for a copy of the app.

    """

    name = "ray"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._link: SuperLink | None = None

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run one job after the other."""
        together = {key: value for job in jobs for key, value in job.config.items()}
        copy_app(self._folder / "app", together)
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
            self._link = self._stack.enter_context(superlink(self._folder / "home"))
        return self._link
