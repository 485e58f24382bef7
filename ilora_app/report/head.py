"""The top of a report: the verdict, and the numbers of the run as tiles."""

import time
from html import escape

from ilora_app.report.cost import BYTES, SECONDS
from ilora_app.report.reading import RunData
from ilora_app.runs.worth import Worth


def head(run: RunData, verdict: str) -> str:
    """What was run, its verdict, and its numbers beside it."""
    c = run.config
    what = f"{c.get('model')} on {c.get('dataset')}, seed {c.get('seed')}"
    times = [event["time"] for event in run.events if "time" in event]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(times[0])) if times else ""
    begun = f" Begun {escape(when)}." if when else ""
    boxes = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in _tiles(run)
    )
    return (
        f'<p class="dim">{escape(what)}.{begun}</p>'
        f'<div class="charts">{verdict}<div class="tiles">{boxes}</div></div>'
    )


def _tiles(run: RunData) -> list[tuple[str, str]]:
    """(value, what it is)."""
    worth = Worth.of(run.rounds, run.events)
    done, wanted = int(run.rounds[-1]["round"]), run.config.get("num-server-rounds")
    tiles = []
    end = "at the end" if worth.measured is None else f"in round {worth.measured}"
    if worth.accuracy is not None and worth.best is not None:
        tiles.append((f"{worth.accuracy:.4f}", f"{worth.accuracy_of} {end}"))
        tiles.append(
            (f"{worth.best:.4f}", f"best {worth.accuracy_of}, round {worth.best_round}")
        )
    if worth.macro_f1 is not None:
        tiles.append((f"{worth.macro_f1:.4f}", f"macro F1 {end}"))
    tiles += [(f"{value:.4f}", f"{name} {end}") for name, value in worth.named]
    tiles += [(f"{value:.4f}", name) for name, value in worth.beside]
    worst = run.value("client_accuracy_worst")
    if worst is not None:
        tiles.append((f"{worst:.4f}", "worst client, held out"))
    tiles += [(f"{done} of {wanted}", "rounds"), (str(len(run.clients())), "clients")]
    megabytes = run.total(*(key for _, key in BYTES)) / 1e6
    minutes = run.total(*(key for _, key in SECONDS[:-1])) / 60
    tiles += [(f"{megabytes:.1f}", "MB sent"), (f"{minutes:.1f}", "minutes in rounds")]
    bad = len(run.kind("reply-left-out"))
    return [*tiles, (str(bad), "replies left out")]
