"""Runs what a plan asks for and has not been run yet, in the plan's order."""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ilora_app.compare.engines import Engine, Watch
from ilora_app.compare.jobs import FINISHED, Job
from ilora_app.compare.plan import Plan
from ilora_app.compare.presets import Preset
from ilora_app.compare.rates import choose, finalists


class FolderError(RuntimeError):
    """Another comparison is at work in the folder."""


def run(
    plan: Plan,
    engine: Engine,
    watch: Watch,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Run preset by preset: the choice of rates first, then the other seeds.

    Finished runs are not run again, failed and interrupted ones are. Every run is
    tried once.

    Args:
        plan: what to run.
        engine: closed at the end, whatever happens.
        watch: is told how the runs go.
        after: called when a preset is done.

    """
    tried: set[Path] = set()

    def pending(jobs: Sequence[Job]) -> list[Job]:
        new = [job for job in jobs if job.folder not in tried and not _finished(job)]
        tried.update(job.folder for job in new)
        return new

    try:
        for preset in plan.presets:
            engine.run(pending(plan.choosing(preset)), watch)
            while more := pending(beyond(plan, preset)):
                engine.run(more, watch)
            engine.run(pending(final(plan, preset)), watch)
            engine.run(pending(remaining(plan, preset)), watch)
            after()
    finally:
        engine.close()


def beyond(plan: Plan, preset: Preset) -> list[Job]:
    """Runs at the neighbours of every row's best rate so far; none for a whole grid."""
    found = []
    for entry in plan.under(preset) if plan.near else ():
        best = choose(plan, entry).rate if plan.rates_of(entry) else None
        for rate in plan.neighbours(entry, best) if best is not None else ():
            found += plan.chosen(entry, rate)[: plan.select]
    return found


def final(plan: Plan, preset: Preset) -> list[Job]:
    """Runs of every row's best rates with all seeds; none where one rate is enough."""
    return [
        plan.job(entry, rate, seed)
        for seed in plan.seeds
        for entry in (plan.under(preset) if plan.finalists > 1 else ())
        for rate in (finalists(plan, entry) if plan.rates_of(entry) else ())
    ]


def remaining(plan: Plan, preset: Preset) -> list[Job]:
    """Runs of every row at its chosen rate, seed by seed; none without a rate."""
    chosen = [(entry, choose(plan, entry).rate) for entry in plan.under(preset)]
    return [
        plan.job(entry, rate, seed)
        for seed in plan.seeds
        for entry, rate in chosen
        if rate is not None
    ]


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a second comparison out of a folder.

    Raises:
        FolderError: there is one at work in it, or it cannot be made or written.

    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise FolderError(f"--out {out}: cannot be written: {error}") from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FolderError(f"--out {out}: a comparison is at work in it") from error
        yield


def _finished(job: Job) -> bool:
    record = job.record()
    return record is not None and record.status == FINISHED
