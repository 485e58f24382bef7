"""``resume``: which run goes on, and whether it may under this run config."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ilora_app.runs import lock
from ilora_app.runs.checkpoint import Checkpoint, Checkpoints
from ilora_app.runs.places import CONFIG, EVENTS, LATEST, METRICS, RUNS, outside
from ilora_app.runs.store import TornError
from ilora_app.settings import Settings, options, parsing

_FILES = (CONFIG, EVENTS, METRICS, f".{METRICS}.tmp", lock.FILE)

# Keys that change no number of a round that has been run, nor of those to come but by
# their own meaning: how long to go on and to wait, what is kept and measured.
FREE = frozenset(
    {
        "num-server-rounds", "round-timeout", "max-wait-ratio", "strikes",
        "min-available-nodes", "min-replies",
        "output-dir", "resume", "keep-checkpoints", "save-adapters", "evaluate-every",
        "rank-eval-every", "eval-batch-size", "evaluate-on", "max-update-norm",
        "max-correction-norm", "max-examples", "max-norm-ratio",
        "max-examples-ratio", "max-reply-megabytes", "robust", "robust-fraction",
        "report", "log-events", "metrics-port", "metrics-host", "track", "patience",
        "target-accuracy", "time-budget", "identity", "secure-min-nodes",
    }
)  # fmt: skip


@dataclass(frozen=True)
class ResumePoint:
    """A run that goes on.

    Attributes:
        folder: the run folder, which is written on.
        checkpoint: to go on from.

    """

    folder: Path
    checkpoint: Checkpoint


def find(
    settings: Settings, unsure: Collection[str] = ()
) -> tuple[ResumePoint | None, list[str]]:
    """Find the run that ``resume`` names, and all that keeps it from going on.

    ``latest`` is the run in ``output-dir`` where one is given; else, of the runs under
    ``~/.ilora/runs``, that of this very configuration which was last written.

    Args:
        settings: as resolved.
        unsure: keys whose values say nothing, as they have mistakes of their own or
            could not be resolved for those of others.

    Returns:
        It, where it has a checkpoint, and why it cannot go on; None and no problem
        where nothing is to be resumed.

    """
    wanted, given = settings.keeping.resume, settings.run.output_dir
    if not wanted or (wanted == LATEST and "output-dir" in unsure):
        return None, []
    if wanted == LATEST and not given:
        return _latest(settings, unsure)
    key, named = ("output-dir", given) if wanted == LATEST else ("resume", wanted)
    folder, problems = options.folder(named), []
    if not folder.is_absolute():
        right = "a run folder: absolute, or under ~"
        right = f"{LATEST}, or {right}" if key == "resume" else right
        return None, [parsing.describe(key, named, right)]
    if wanted != LATEST and given and options.folder(given) != folder:
        right = f"the folder of resume ({folder}), or none: a run goes on where it is"
        problems = [parsing.describe("output-dir", given, right)]
    found, wrong = _one(folder, settings, unsure)
    return found, problems + wrong


def newest_first(runs: Path) -> list[Path]:
    """Run folders that have checkpoints, the last written first."""
    newest = {folder: Checkpoints(folder).newest for folder in runs.glob("*")}
    times = {run: (made.stat().st_mtime, run) for run, made in newest.items() if made}
    return sorted(times, key=lambda run: times[run], reverse=True)


def differences(
    then: dict[str, Any], now: dict[str, Any], unsure: Collection[str] = ()
) -> list[str]:
    """Keys whose values differ and may not, with both values."""
    # Without its method nobody knows which keys a run has.
    keys = {**then, **now} if "strategy" not in unsure else then.keys() & now.keys()
    return [
        f"{key} is {parsing.shown(now.get(key))}, and was "
        f"{parsing.shown(then.get(key))} in the checkpoint"
        for key in keys
        if key not in FREE and key not in unsure and then.get(key) != now.get(key)
    ]


def _not_written_here(folder: Path) -> str:
    """Say what in a folder the app has not put there: a run writes into no links."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            return f"a run folder without links, and {path} is one"
    for name in _FILES:
        if (folder / name).exists() and not (folder / name).is_file():
            return f"a run folder, in which {folder / name} is a file"
    return ""


def _latest(
    settings: Settings, unsure: Collection[str]
) -> tuple[ResumePoint | None, list[str]]:
    """The newest run that can go on; where none can, the newest, and why not."""
    first: tuple[ResumePoint | None, list[str]] | None = None
    for folder in newest_first(options.folder(RUNS)):
        found, wrong = _one(folder, settings, unsure)
        if found and not wrong:
            return found, wrong
        first = first or (found, wrong)
    right = f"a run with a checkpoint, and {options.folder(RUNS)} has none"
    return first or (None, [parsing.describe("resume", LATEST, right)])


def _one(
    folder: Path, settings: Settings, unsure: Collection[str]
) -> tuple[ResumePoint | None, list[str]]:
    wanted, before = settings.keeping.resume, "num-server-rounds"
    if right := outside(folder):
        key = "resume" if wanted != LATEST else "output-dir"
        return None, [parsing.describe(key, str(folder), right)]
    # A folder without checkpoints is none of a run, and may be the root of a disk.
    if Checkpoints(folder).newest and (right := _not_written_here(folder)):
        return None, [parsing.describe("resume", str(folder), right)]
    try:
        checkpoint = Checkpoints(folder).load()
    except TornError as error:
        right = f"a run with a checkpoint: {error}"
        return None, [parsing.describe("resume", wanted, right)]
    problems = []
    # A key that there was none of when the run began had no effect, as by default.
    earlier = {**parsing.dump(Settings()), **checkpoint.config}
    differ = differences(earlier, parsing.dump(settings), unsure)
    rounds, then = settings.run.num_server_rounds, checkpoint.config.get(before)
    # The rate of every round of a schedule depends on how many there are.
    schedule = checkpoint.config.get("rate-schedule", "constant")
    if before not in unsure and schedule != "constant" and then != rounds:
        differ.append(f"{before} is {rounds}, and the rate-schedule ran for {then}")
    if differ:
        right = f"the configuration of {folder}: {'; '.join(differ)}"
        problems.append(parsing.describe("resume", wanted, right))
    if before not in unsure and rounds < checkpoint.round:
        right = f"{checkpoint.round} or more, the rounds that {folder} has run"
        problems.append(parsing.describe(before, rounds, right))
    if by := lock.busy(folder):
        right = f"a run that nobody is at work on, and {by}"
        problems.append(parsing.describe("resume", wanted, right))
    return ResumePoint(folder, checkpoint), problems
