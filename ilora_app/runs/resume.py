"""``resume``: which run goes on, and whether it may under this run config."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ilora_app.runs import lock
from ilora_app.runs.checkpoint import Checkpoint, Checkpoints
from ilora_app.runs.places import CONFIG, EVENTS, METRICS, RUNS, outside
from ilora_app.runs.store import TornError
from ilora_app.settings import Settings, options, parsing

LATEST = "latest"
_FILES = (CONFIG, EVENTS, METRICS, f".{METRICS}.tmp", lock.FILE)

# Keys that change no number of a round that has been run, nor of those to come but by
# their own meaning: how long to go on and to wait, what is kept and measured.
FREE = frozenset(
    {
        "num-server-rounds", "round-timeout", "min-available-nodes", "min-replies",
        "output-dir", "resume", "keep-checkpoints", "save-adapters", "evaluate-every",
        "rank-eval-every", "eval-batch-size", "evaluate-on", "max-update-norm",
        "max-correction-norm", "max-examples", "max-norm-ratio",
        "max-examples-ratio", "max-reply-megabytes", "report", "track", "patience",
        "target-accuracy", "time-budget",
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


def find(settings: Settings) -> tuple[ResumePoint | None, list[str]]:
    """Find the run that ``resume`` names, unless a server is still at work on it.

    Args:
        settings: as resolved.

    Returns:
        It, or why there is none that can go on.

    """
    found, problems = _find(settings)
    if found and (by := lock.busy(found.folder)):
        right = f"a run that nobody is at work on, and {by}"
        return None, [parsing.describe("resume", settings.keeping.resume, right)]
    return found, problems


def _find(settings: Settings) -> tuple[ResumePoint | None, list[str]]:
    """Find the run that ``resume`` names: it, or why there is none that can go on.

    ``latest`` is the run in ``output-dir`` where one is given; else, of the runs under
    ``~/.ilora/runs``, that of this very configuration which was last written.

    Args:
        settings: as resolved.

    Returns:
        None and no problem where nothing is to be resumed.

    """
    wanted, given = settings.keeping.resume, settings.run.output_dir
    if not wanted:
        return None, []
    if wanted != LATEST:
        folder = options.folder(wanted)
        if not folder.is_absolute():
            right = f"{LATEST}, or a run folder: absolute, or under ~"
            return None, [parsing.describe("resume", wanted, right)]
        if given and options.folder(given) != folder:
            right = (
                f"the folder of resume ({folder}), or none: a run goes on where it is"
            )
            return None, [parsing.describe("output-dir", given, right)]
        return _one(folder, settings)
    if given:
        return _one(options.folder(given), settings)

    problems: list[str] = []
    for folder in newest_first(options.folder(RUNS)):
        found, wrong = _one(folder, settings)
        if found:
            return found, wrong
        problems = problems or wrong
    if not problems:
        right = f"a run with a checkpoint, and {options.folder(RUNS)} has none"
        problems = [parsing.describe("resume", wanted, right)]
    return None, problems


def newest_first(runs: Path) -> list[Path]:
    """Run folders that have checkpoints, the last written first."""
    newest = {folder: Checkpoints(folder).newest for folder in runs.glob("*")}
    times = {run: (made.stat().st_mtime, run) for run, made in newest.items() if made}
    return sorted(times, key=lambda run: times[run], reverse=True)


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Keys whose values differ and may not, with both values."""
    return [
        f"{key} is {now.get(key)!r}, and was {then.get(key)!r} in the checkpoint"
        for key in {**then, **now}
        if key not in FREE and then.get(key) != now.get(key)
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


def _one(folder: Path, settings: Settings) -> tuple[ResumePoint | None, list[str]]:
    wanted = settings.keeping.resume
    if right := outside(folder):
        key = "resume" if wanted != LATEST else "output-dir"
        return None, [parsing.describe(key, str(folder), right)]
    if right := _not_written_here(folder):
        return None, [parsing.describe("resume", str(folder), right)]
    try:
        checkpoint = Checkpoints(folder).load()
    except TornError as error:
        right = f"a run with a checkpoint: {error}"
        return None, [parsing.describe("resume", wanted, right)]
    differ = differences(checkpoint.config, parsing.dump(settings))
    rounds, before = settings.run.num_server_rounds, "num-server-rounds"
    # The rate of every round of a schedule depends on how many there are.
    then, constant = checkpoint.config.get(before), "constant"
    if settings.training.rate_schedule != constant and then != rounds:
        differ.append(f"{before} is {rounds}, and the rate-schedule ran for {then}")
    if differ:
        right = f"the configuration of {folder}: {'; '.join(differ)}"
        return None, [parsing.describe("resume", wanted, right)]
    rounds = settings.run.num_server_rounds
    if rounds < checkpoint.round:
        right = f"{checkpoint.round} or more, the rounds that {folder} has run"
        return None, [parsing.describe("num-server-rounds", rounds, right)]
    return ResumePoint(folder, checkpoint), []
