"""``ilora runs``: list, show and remove run folders."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ilora_app.cli import terminal
from ilora_app.cli.command import Command
from ilora_app.cli.complete import runs as complete_runs
from ilora_app.cli.erase import erase
from ilora_app.cli.naming import find
from ilora_app.cli.payloads import payloads

MISTAKE = 2

runs = typer.Typer(
    help="Run folders: list, show, erase, remove, and compare them with nodes' logs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

runs.command(cls=Command)(payloads)
runs.command(cls=Command)(erase)

Root = Annotated[
    Path | None,
    typer.Option(help="Folder of the runs; else $ILORA_RUNS, or ~/.ilora/runs."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Id, a beginning of it that no other has, the folder, or latest.",
        autocompletion=complete_runs,
    ),
]
_STYLES = {"finished": "green", "failed": "red", "running": "cyan", "stopped": "yellow"}


@runs.command("list", cls=Command)
def list_(root: Root = None, json_: Json = False) -> None:
    """List runs, the oldest first.

    Example: ilora runs list --root comparison/runs
    """
    from ilora_app.runs import history

    place = _place(root)
    found = history.listed(place)
    if json_:
        typer.echo(terminal.as_json([asdict(run) for run in found], indent=1))
        return
    if not found:
        typer.echo(f"no runs in {place}")
        return
    from rich.table import Table
    from rich.text import Text

    from ilora_app.watch.state import printable

    table = Table(box=None, pad_edge=False)
    heads = ("id", "date", "strategy", "model", "data", "round", "last", "best")
    for head in heads:
        right = head in ("round", "last", "best")
        table.add_column(
            head, justify="right" if right else "left", overflow="fold", no_wrap=right
        )
    table.add_column("status")
    for run in found:
        cells = [run.id, run.date, run.strategy, _short(run.model), _short(run.dataset)]
        cells += [f"{run.round}/{run.rounds}", _number(run.last), _number(run.best)]
        status = Text(run.status, style=_STYLES.get(run.status, ""))
        table.add_row(*(Text(printable(cell)) for cell in cells), status)
    console = terminal.console()
    if not console.is_terminal:
        # Every run has one line, whatever its length.
        console = terminal.console(width=10_000)
    console.print(table)


@runs.command(cls=Command)
def show(run: Id, root: Root = None, json_: Json = False) -> None:
    """Show one run: config, rounds, and what went wrong.

    Example: ilora runs show 20261121-1530 --json
    """
    from ilora_app.runs import history

    place = _place(root)
    folder = find(run, place)
    found, details = history.read(folder, place), history.details(folder)
    if json_:
        typer.echo(terminal.as_json({**asdict(found), **details}, indent=1))
        return
    from ilora_app.watch.lines import round_line
    from ilora_app.watch.state import RunState, failure_of, printable

    for name, value in asdict(found).items():
        if value not in ("", None):
            typer.echo(f"{name:<10}{printable(str(value))}")
    state = RunState(found.rounds)
    state.status = found.status
    for row in details["rows"]:
        typer.echo(round_line(row, state))
    for event in details["failures"]:
        typer.echo(failure_of(event))
    for line in _test_split(folder, details["test"]):
        typer.echo(line)
    typer.echo("config:")
    for key, value in details["config"].items():
        typer.echo(f"  {key} = {json.dumps(value, default=str)}")


@runs.command(cls=Command)
def rm(
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", autocompletion=complete_runs, help="Ids or latest."
        ),
    ],
    root: Root = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Remove run folders, with their adapters and checkpoints.

    Example: ilora runs rm 20261121-153000-42 --yes
    """
    from ilora_app.runs import history
    from ilora_app.watch.state import printable

    place = _place(root)
    if json_ and not yes:
        typer.echo("--json: expected with --yes, as there is nobody to ask", err=True)
        raise typer.Exit(MISTAKE)
    removed = []
    # All are found before the first is removed.
    folders = list(dict.fromkeys(find(one, place, exact=True) for one in run))
    for folder in folders:
        found = history.read(folder, place)
        what = printable(f"{folder} ({found.strategy}, {found.status})")
        if not yes and not typer.confirm(f"remove {what}?"):
            typer.echo(f"kept {folder}")
            continue
        try:
            history.remove(folder, place)
        except (history.HistoryError, OSError) as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(MISTAKE) from error
        removed.append(str(folder))
        typer.echo(f"removed {folder}", err=json_)
    if json_:
        typer.echo(terminal.as_json({"removed": removed}))


def _test_split(folder: Path, worth: dict[str, Any]) -> list[str]:
    """What the accuracy is worth, the classes told worst, and what is confused most."""
    from ilora_app.runs import class_scores
    from ilora_app.runs.worth import Worth
    from ilora_app.watch.state import printable

    found = Worth(**worth)
    lines = [f"test split: {found.line}"] if found.line else []
    if found.best is not None:
        lines.append(f"  best: accuracy {found.best:.4f}, round {found.best_round}")
    by_class = class_scores.read(folder)
    lines += [f"  {line}" for line in by_class.lines] if by_class else []
    return [line[:2] + printable(line[2:]) for line in lines]


def _place(root: Path | None) -> Path:
    from ilora_app.runs import history
    from ilora_app.settings import options

    if root is None:
        return history.default_root()
    place = options.folder(root)
    if not place.is_dir():
        typer.echo(f"--root {root}: expected a folder", err=True)
        raise typer.Exit(MISTAKE)
    return place


def _short(name: str) -> str:
    return name.rstrip("/").split("/")[-1]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
