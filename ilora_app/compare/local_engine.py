"""Runs jobs in worker processes, with no Ray; the numbers are the same."""

import multiprocessing
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait

from ilora_app.compare import worker
from ilora_app.compare.engines import Watch
from ilora_app.compare.jobs import Job, Record


class LocalEngine:
    """Worker processes with one torch thread each.

    Args:
        workers: how many.

    """

    name = "local"

    def __init__(self, workers: int) -> None:
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []
        self.workers = workers

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run them, as many at a time as there are workers."""
        waiting = deque(jobs)
        busy: dict[Connection, _Worker] = {}
        while waiting or busy:
            while waiting and len(busy) < self.workers:
                one = self._idle.pop() if self._idle else self._new()
                job = waiting.popleft()
                job.prepare()
                one.start(job)
                busy[one.connection] = one
                watch.started(job)
            answered = wait(list(busy))
            for connection in [key for key in busy if key in answered]:
                one = busy.pop(connection)
                job = one.job
                reason, seconds = one.result()
                if one.usable:
                    self._idle.append(one)
                else:
                    self._all.remove(one)
                    one.end()
                record = Record.of(job, self.name, reason, seconds)
                job.close(record)
                watch.ended(job, record)

    def close(self) -> None:
        """End the workers."""
        for one in self._all:
            one.end()
        self._all, self._idle = [], []

    def _new(self) -> "_Worker":
        self._all.append(_Worker())
        return self._all[-1]


class _Worker:
    """One process; its caches grow with the jobs, so it is used for a few only."""

    most = 24

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self._process = context.Process(target=worker.serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._jobs, self._alive, self._busy = 0, True, False
        self.job: Job
        self._clock = 0.0

    @property
    def usable(self) -> bool:
        return self._alive and self._jobs < self.most

    def start(self, job: Job) -> None:
        self.job, self._clock = job, time.perf_counter()
        self._jobs += 1
        self._busy = True
        self.connection.send((dict(job.config), job.clients, str(job.log)))

    def result(self) -> tuple[str, float]:
        """Why the job failed, empty where it did not, and its seconds."""
        try:
            reason, seconds = self.connection.recv()
            self._busy = False
            return str(reason), float(seconds)
        except (EOFError, OSError):
            self._alive = False
            self._process.join(5)
            code = self._process.exitcode
            reason = f"the worker process ended with exit code {code}"
            return reason, time.perf_counter() - self._clock

    def end(self) -> None:
        """End the process: by itself where it waits, else by a signal."""
        self.connection.close()
        if not self._busy:
            self._process.join(5)
        self._process.terminate()
        self._process.join(5)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
