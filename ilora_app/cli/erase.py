"""``ilora runs erase``: removes what a run has stored of its nodes."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import runs
from ilora_app.cli.naming import MISTAKE, find

if TYPE_CHECKING:
    from ilora_app.runs.erase import Item

_NOT_REACHED = (
    "states on nodes' own machines: run the command above on each of them",
    "rows that were read from files, as datasets keeps them for its user alone: "
    "HF_HOME/datasets/ilora-UID (~/.cache/huggingface) on each machine",
    "messages that a SuperLink keeps in the database file that it was started with",
    "copies: exported models, trackers' servers, backups, what a disk still holds of "
    "removed files",
)
_KEPT = (
    "config, metrics.csv, log, pages, models, and events.jsonl with what nodes said of "
    "their ranks, rows, losses and accuracies; --all removes them too"
)


def erase(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run, on the machine of the server: its id, a beginning of it that "
            "no other has, its folder, or latest.",
            autocompletion=runs,
        ),
    ] = "",
    key: Annotated[
        str,
        typer.Option(
            help="On a machine of nodes, in the place of RUN: the key under which they "
            "keep their state of the run, which privacy.html has."
        ),
    ] = "",
    state_path: Annotated[
        Path | None,
        typer.Option(
            help="State folder of nodes here; else $ILORA_STATE, or ~/.ilora/nodes."
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="The whole run folder as well.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of the runs; else $ILORA_RUNS, or ~/.ilora/runs."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove what a run has stored that could tell of nodes' data.

    Checkpoints, control variates and states of nodes go, so the run cannot go on any
    more. Says what it removed, and what it cannot reach.

    Example: ilora runs erase 20260102-101500-123 --yes
    """
    from ilora_app.runs import history, lock
    from ilora_app.runs.places import node_states
    from ilora_app.settings import options

    if bool(run) == bool(key):
        _refuse("expected RUN or --key, and not both")
    if all_ and not run:
        _refuse("--all: expected with RUN, as it removes the folder of a run")
    if json_ and not yes:
        _refuse("--json: expected with --yes, as there is nobody to ask")
    place = history.default_root() if root is None else options.folder(root)
    folder = find(run, place) if run else None
    from ilora_app.runs import erase as erasing  # with torch

    states = options.folder(state_path or node_states())
    items: list[Item] = []
    held = None
    try:
        if folder:
            if folder.is_symlink():
                raise history.HistoryError(f"{folder} is a link: nothing is removed")
            if all_:
                # Before anything goes: else half of it would.
                history.check_removable(folder, place)
            held = lock.hold(folder)
            typer.echo(f"run: {folder}", err=True)
        keys = erasing.keys_of(folder) if folder else [key]
        items += erasing.in_run(folder) if folder else []
        for one in keys:
            items += erasing.in_states(states, one)
        for item in items:
            typer.echo(f"{item.path}: {item.holds}, {item.bytes} bytes", err=True)
        what = f"the whole of {folder} and these" if all_ else "these"
        nothing = not items and not all_
        if not yes and not nothing and not typer.confirm(f"remove {what}?", err=True):
            typer.echo("nothing is removed", err=True)
            raise typer.Exit(0)
        gone, left = erasing.erase(items)
        removed = [asdict(item) for item in gone]
        if folder and all_:
            held = held and held.close()
            removed += _remove(folder, place, left)
        if folder and gone and history.is_run(folder):
            _record(folder, gone, left)
    except (history.HistoryError, lock.BusyError, OSError, ValueError) as error:
        _refuse(str(error))
    finally:
        if held:
            held.close()
    _say(folder, keys, removed, left, json_)
    if left:
        raise typer.Exit(MISTAKE)


def _remove(
    folder: Path, place: Path, left: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Remove a run folder; where it stays, ``left`` has the reason."""
    from ilora_app.runs import history

    try:
        history.remove(folder, place)
    except (history.HistoryError, OSError) as error:
        left.append({"path": str(folder), "reason": str(error)})
        return []
    return [{"path": str(folder), "holds": "the run folder", "bytes": 0}]


def _record(folder: Path, gone: "list[Item]", left: list[dict[str, Any]]) -> None:
    """Write down in the run what went of it; ``left`` has what could not be written."""
    from ilora_app.report import privacy_page
    from ilora_app.runs import erase as erasing

    erasing.note(folder, gone)
    page = folder / privacy_page.PAGE
    if page.is_file():
        try:
            privacy_page.write(folder)
        except (OSError, ValueError) as error:
            left.append({"path": str(page), "reason": f"as it was: {error}"})


def _say(
    folder: Path | None,
    keys: list[str],
    removed: list[dict[str, Any]],
    left: list[dict[str, Any]],
    as_json: bool,
) -> None:
    commands = [f"ilora runs erase --key {key}" for key in keys] if folder else []
    unreached = list(_NOT_REACHED if commands else _NOT_REACHED[1:]) if folder else []
    kept = _KEPT if folder and folder.exists() else ""
    if as_json:
        said = {"removed": removed, "failed": left, "kept": kept, "keys": keys,
                "on_nodes": commands, "not_reached": unreached}  # fmt: skip
        typer.echo(terminal.as_json(said))
        return
    for item in removed:
        typer.echo(f"removed {item['path']}")
    for item in left:
        typer.echo(f"not removed: {item['path']}: {item['reason']}", err=True)
    if not removed and not left:
        typer.echo("nothing of it is here")
    if kept:
        typer.echo(f"kept: {kept}")
    for command in commands:
        typer.echo(f"on each node's machine: {command}")
    for what in unreached:
        typer.echo(f"not reached: {what}")


def _refuse(text: str) -> None:
    typer.echo(text, err=True)
    raise typer.Exit(MISTAKE)
