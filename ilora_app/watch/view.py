"""The live view of a run, and what stands for it where there is no terminal."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ilora_app.runs import traffic
from ilora_app.settings.options import lower_is_better
from ilora_app.watch import lines
from ilora_app.watch.state import RunState, printable

_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", ".:-=+*#@"
_WIDEST = 40
_SHOWN_FAILURES = 3


class View:
    """Shows a run in a console.

    Args:
        console: where to; a live panel in a terminal, else plain lines.
        state: of the run; whoever follows the run feeds it.
        title: of the panel.

    """

    def __init__(self, console: Console, state: RunState, title: str) -> None:
        self._console, self._state, self._title = console, state, title
        self._live: Live | None = None
        self.doing = "starting"

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the panel as long as this lasts."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self.panel, console=self._console, refresh_per_second=2
        ) as self._live:
            yield
        self._live = None

    def say(self, text: str) -> None:
        """Print a line, above the panel where there is one."""
        self._console.print(
            Text(printable(text)), soft_wrap=True, highlight=False, markup=False
        )

    def event(self, event: Mapping[str, Any]) -> None:
        """Take in an event that the state has just taken; what went wrong is a warning.

        Of the log, that is, which says it in the same words.
        """
        if event.get("event") == "round":
            self.doing = ""
        if self._live:
            return
        if event.get("event") == "round":
            self.say(lines.round_line(self._state.rows[-1], self._state))

    def panel(self) -> RenderableType:
        """The whole view, as it stands."""
        state = self._state
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(ratio=1)
        table.add_row("round", self._progress())
        table.add_row("clients", self._clients())
        for names in (lines.ACCURACY, lines.LOSS, ("perplexity",)):
            if name := state.column(*names):
                table.add_row(lines.title(name), self._metric(name))
        kept = state.energy_kept()
        if kept:
            parts = [
                f"{value:.1%}" if rank.startswith("#") else f"r{rank} {value:.1%}"
                for rank, value in kept.items()
            ]
            table.add_row("energy kept", "  ".join(parts))
        down, up = (
            state.total(*traffic.columns(w)) for w in (traffic.DOWN, traffic.UP)
        )
        table.add_row("sent", f"{lines.megabytes(down)} down, {lines.megabytes(up)} up")
        table.add_row("failures", self._failures())
        box = {"safe_box": True} if self._console.options.ascii_only else {}
        return Panel(table, title=Text(self._title), title_align="left", **box)  # type: ignore[arg-type]

    def _progress(self) -> RenderableType:
        state = self._state
        done = max(state.round, 0)
        if state.status:
            said = state.status
        elif state.rows:
            said = f"{lines.duration(state.seconds_left())} left"
        else:
            said = self.doing
        text = Text(f"{done}/{state.rounds or '?'}  {said}")
        bar = ProgressBar(max(state.rounds, 1), done, width=_WIDEST)
        return Group(text, bar)

    def _clients(self) -> str:
        state = self._state
        if state.asked:
            doing = {"train": "trained", "evaluate": "evaluated"}.get(state.purpose, "")
            return f"{state.replied} of {state.asked} have {doing}"
        for row in reversed(state.rows):
            if "asked" in row:
                return f"{row.get('clients', 0)} of {row['asked']} in the last round"
        return "-"

    def _metric(self, name: str) -> Text:
        series = self._state.series(name)
        number, best = (min if lower_is_better(name) else max)(
            series, key=lambda pair: pair[1]
        )
        plain = self._console.options.ascii_only
        line = sparkline([value for _, value in series], ascii_only=plain)
        last = series[-1][1]
        return Text(f"{last:.4f}  {line}  best {best:.4f} (round {number})")

    def _failures(self) -> Text:
        found = self._state.failures
        if not found:
            return Text("none")
        last = found[-_SHOWN_FAILURES:]
        return Text(f"{len(found)}\n" + "\n".join(last), style="red")


def sparkline(values: Sequence[float], *, ascii_only: bool = False) -> str:
    """Draw values as a row of blocks, the last ones where there are many."""
    marks = _ASCII if ascii_only else _BLOCKS
    finite = [v for v in values if v == v and abs(v) != float("inf")][-_WIDEST:]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    return "".join(marks[round((v - low) / span * (len(marks) - 1))] for v in finite)
