"""What a run came to, in words, and what to do next: the top of its report."""

import shlex
import time
from html import escape
from math import sqrt
from pathlib import Path

from ilora_app.report import look
from ilora_app.report.reading import RunData
from ilora_app.runs import history
from ilora_app.runs.class_scores import ByClass
from ilora_app.runs.history import FAILED, FINISHED, RUNNING
from ilora_app.runs.places import from_home
from ilora_app.runs.worth import Worth
from ilora_app.settings.kinds import LANGUAGE, TASKS, example

_SHOWN = 0.00005
"""Differences below this would be written as 0.0000."""


def status_of(run: RunData, over: bool) -> tuple[str, str]:
    """Whether a run is running, finished, failed or stopped; and why it failed.

    Args:
        run: as read.
        over: the run itself says so, which writes its report just before its end.

    """
    if over:
        return FINISHED, ""
    found = history.read(run.folder, run.folder.parent)
    return found.status, found.reason


def verdict(run: RunData, by_class: ByClass | None, status: str, reason: str) -> str:
    """Say what the run came to, and the commands that follow."""
    worth = Worth.of(run.rounds, run.events)
    said = [_state(run, status, reason), *_accuracy(worth, by_class)]
    if by_class and len({j for _, j in by_class.confusion}) == 1:
        ((_, only), *_) = by_class.confusion
        name = by_class.scores[only].name
        said.append(f"Every row of the test split is taken for {name!r}.")
    came = [row["clients"] for row in run.rounds if row["round"] and "clients" in row]
    if came and not any(came):
        said.append("No round had usable replies: the model is what it was.")
    kind = "live" if status == RUNNING else status
    lines = "".join(f"<p>{escape(line)}</p>" for line in said if line)
    steps = "".join(
        f"<li>{look.code(command)} {escape(what)}</li>"
        for command, what in next_steps(run, worth, status)
    )
    return (
        f'<section class="verdict {kind}" aria-label="verdict">{lines}'
        f"<p>Next:</p><ul>{steps}</ul></section>"
    )


def name_of(run: RunData) -> str:
    """What commands call a run: its id where runs lie, else its folder."""
    at_home = run.folder.parent == history.default_root()
    return shlex.quote(run.folder.name) if at_home else typed(run.folder)


def typed(place: Path | str) -> str:
    """A path or a name as one types it: from ``~``, where it is under the home."""
    text = from_home(str(place))
    if text.startswith("~/"):
        return f"~/{shlex.quote(text.removeprefix('~/'))}"
    return shlex.quote(text)


def next_steps(run: RunData, worth: Worth, status: str) -> list[tuple[str, str]]:
    """(command, what it does), by how the run stands."""
    name, c = name_of(run), run.config
    task = c.get("task")
    if status == RUNNING:
        return [(f"ilora watch {name}", "shows this page as the run goes on")]
    if status != FINISHED:
        resume = f"ilora run --resume {name}"
        return [
            (resume, "goes on after its last finished round"),
            (f"ilora runs show {name}", "lists what went wrong"),
        ]
    found, folder = [], typed(run.folder)
    last = int(run.rounds[-1]["round"])
    if worth.best_round is not None and 0 < worth.best_round == last:
        members = {event.get("partition") for event in run.kind("member")}
        clients = f" --clients {len(members)}" if members - {None} else ""
        more = f"ilora run {folder}/config.toml{clients} --rounds {2 * last} --out NEW"
        found.append(
            (more, "more rounds: the best one is the last, so it may still gain")
        )
    earlier = worth.best is not None and worth.best > (worth.accuracy or 0.0)
    best = " --round best" if earlier and worth.best_round else ""
    if c.get("save-adapters", True) and (run.folder / "config.toml").is_file():
        row = example(str(task)) if task in TASKS else '"a text"'
        of = "the best round" if best else "the model"
        found.append((f"ilora predict {name} {row}{best}", f"asks {of}"))
        found.append((f"ilora export {name} --out adapter{best}", "takes it elsewhere"))
    if worth.linear_probe is None and worth.accuracy is not None and task != LANGUAGE:
        data, model = (typed(str(c.get(key, ""))) for key in ("dataset", "model"))
        check = f"ilora check {data} --task {task} --model {model}"
        found.append((check, "measures a linear probe, which training has to beat"))
    return found


def _state(run: RunData, status: str, reason: str) -> str:
    done, wanted = int(run.rounds[-1]["round"]), run.config.get("num-server-rounds")
    at = time.strftime("%Y-%m-%d %H:%M:%S")
    if status == RUNNING:
        return f"Live: round {done} of {wanted} is over, as of {at}. The run goes on."
    if status == FAILED:
        return f"The run failed after round {done} of {wanted}: {reason}"
    if status == FINISHED:
        early = f" of {wanted}, and stopped early" if done != wanted else ""
        return f"The run finished with round {done}{early}."
    return (
        f"The run was stopped after round {done} of {wanted}, or does not say its end."
    )


def _accuracy(worth: Worth, by_class: ByClass | None) -> list[str]:
    others = ", ".join(worth.more)
    at = "" if worth.measured is None else f" after round {worth.measured}"
    if worth.accuracy is None or worth.best is None:
        return [f"On the server's test split{at}: {others}."] if others else []
    of = worth.accuracy_of.capitalize()
    text = f"{of} on the server's test split{at} is {worth.accuracy:.4f}"
    if worth.macro_f1 is not None:
        text += f", macro F1 (every class counts alike) {worth.macro_f1:.4f}"
    text += f", {others}" if others else ""
    if worth.best > worth.accuracy:
        text += f"; round {worth.best_round} had {worth.best:.4f}, the best"
    rows = sum(score.examples for score in by_class.scores) if by_class else 0
    error = sqrt(worth.accuracy * (1 - worth.accuracy) / rows) if rows else 0.0
    lines = [f"{text}."]
    if rows:
        lines[0] += f" Its standard error over {rows} rows is {error:.4f}."
    for name, value in worth.beside:
        gap = worth.accuracy - value
        if abs(gap) < _SHOWN:
            lines.append(f"As much as {name} ({value:.4f}).")
            continue
        how = "above" if gap > 0 else "below"
        line = f"{abs(gap):.4f} {how} {name} ({value:.4f})"
        if rows and abs(gap) < 2 * error:
            line += ", which is within two standard errors: no clear difference"
        elif gap <= 0:
            line += ": this run reaches less than that"
        lines.append(f"{line}.")
    return lines
