"""How a comparison goes: a live table in a terminal, else a line for each run."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ilora_app.compare.finished import Run
from ilora_app.compare.jobs import FAILED, FINISHED, Job, Record
from ilora_app.compare.plan import Entry, Plan
from ilora_app.report.reading import read_rounds

Key = tuple[str, str]


class Progress:
    """Counts jobs by row, and says how long the rest will take.

    Args:
        plan: what is run.
        console: where to.
        workers: how many jobs run at a time.

    """

    def __init__(self, plan: Plan, console: Console, workers: int = 1) -> None:
        self._plan, self._console, self._workers = plan, console, workers
        self._lock = threading.Lock()
        self._running: dict[Job, float] = {}
        self._records: dict[Job, Record] = {}
        self._live: Live | None = None
        self._shown: set[str] = set()
        for entry in plan.entries:
            for rate in plan.rates:
                for job in plan.chosen(entry, rate):
                    record = job.record()
                    if record and record.status == FINISHED:
                        self._records[job] = record

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table as long as this lasts."""
        done = self._count(FINISHED)
        if done:
            self._console.print(f"{done} of {self.total} runs are there already")
        if not self._console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self.table, console=self._console, refresh_per_second=1
        ) as self._live:
            yield

    @property
    def total(self) -> int:
        """How many jobs there are, as far as is known."""
        with self._lock:
            return sum(map(self._size, self._plan.entries))

    def started(self, job: Job) -> None:
        """A job is being run."""
        with self._lock:
            self._running[job] = time.monotonic()

    def ended(self, job: Job, record: Record) -> None:
        """A job has come to an end."""
        with self._lock:
            self._running.pop(job, None)
            self._records[job] = record
        if self._live is None:
            self._console.print(self._line(job, record), soft_wrap=True, markup=False)

    def table(self) -> Table:
        """The rows of the presets that are being run, or were last, or of all."""
        with self._lock:
            running, records = dict(self._running), dict(self._records)
            sizes = {_key(entry): self._size(entry) for entry in self._plan.entries}
        self._shown = {job.preset for job in running} or self._shown
        table = Table(title=self._headline())
        for head in ("preset", "method", "done", "running", "failed", "latest"):
            table.add_column(head, justify="left" if head == "method" else "right")
        for entry in self._plan.entries:
            if self._shown and entry.preset.name not in self._shown:
                continue
            key = _key(entry)
            own = [r for job, r in records.items() if _of(job) == key]
            live = [job for job in running if _of(job) == key]
            ended = [job for job in records if _of(job) == key]
            failed = sum(r.status == FAILED for r in own)
            table.add_row(
                Text(entry.preset.name),
                Text(entry.row.name),
                f"{len(own) - failed}/{sizes[key]}",
                str(len(live) or ""),
                f"[red]{failed}[/red]" if failed else "",
                latest([*live, *reversed(ended)], self._plan, live),
            )
        return table

    def _line(self, job: Job, record: Record) -> str:
        with self._lock:
            ended = len(self._records)
        if record.status == FAILED:
            what = "failed: " + " ".join(record.reason.split())
        else:
            run, what = _rounds(job), "finished"
            if run and (score := run.score) is not None:
                what = f"{run.measure} {score:.4f}"
        left = f", {_time(self.seconds_left())} left" if self.total > ended else ""
        return (
            f"[{ended}/{self.total}] {job.title}: {what} ({record.seconds:.0f} s{left})"
        )

    def _headline(self) -> str:
        parts = [f"{self._count(FINISHED)} of {self.total} runs"]
        if failed := self._count(FAILED):
            parts.append(f"{failed} failed")
        parts.append(f"{_time(self.seconds_left())} left")
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """Time that the rest takes, by the mean of the jobs that have finished."""
        with self._lock:
            done = [r.seconds for r in self._records.values() if r.status == FINISHED]
            gone = sum(time.monotonic() - start for start in self._running.values())
            count = sum(map(self._left, self._plan.entries))
        if not done:
            return None
        work = count * sum(done) / len(done) - gone
        return max(work, 0.0) / self._workers

    def _left(self, entry: Entry) -> int:
        """Jobs of a row to come; none where no rate could be run."""
        own = [r for job, r in self._records.items() if _of(job) == _key(entry)]
        failed = sum(record.status == FAILED for record in own)
        if failed and failed == self._plan.tries(entry):
            return 0
        return self._size(entry) - len(own)

    def _size(self, entry: Entry) -> int:
        seen = {*self._records, *self._running}
        seeds = self._plan.seeds[: self._plan.select]
        tried = sum(_of(job) == _key(entry) and job.seed in seeds for job in seen)
        return self._plan.size(entry, tried)

    def _count(self, status: str) -> int:
        with self._lock:
            return sum(r.status == status for r in self._records.values())


def latest(jobs: list[Job], plan: Plan, live: list[Job]) -> str:
    """How good the first of these jobs that says it is, with its round if it runs."""
    for job in jobs:
        run = _rounds(job)
        value = run.score if run else None
        if run and value is not None:
            number = int(run.rounds[-1]["round"])
            last = job.config.get("num-server-rounds")
            return f"{value:.4f}" + (f" ({number}/{last})" if job in live else "")
    return ""


def _rounds(job: Job) -> Run | None:
    try:
        return Run(job.seed, tuple(read_rounds(job.folder / "metrics.csv")))
    except OSError:
        return None


def _key(entry: Entry) -> Key:
    return entry.preset.name, entry.row.name


def _of(job: Job) -> Key:
    return job.preset, job.row


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
