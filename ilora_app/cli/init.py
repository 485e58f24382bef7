"""``ilora init``: a project of one's own, with a run config and its commands."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ilora_app.cli import terminal
from ilora_app.cli.naming import MISTAKE

if TYPE_CHECKING:
    from ilora_app.settings import Settings

_DATA = "data.csv"


def init(
    name: Annotated[Path, typer.Argument(help="Folder to make.")],
    dataset: Annotated[
        str | None,
        typer.Option(help="File or folder of the data, packaged set or hub id."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="task; else by the columns.")] = None,
    model: Annotated[str | None, typer.Option(help="model.")] = None,
    clients: Annotated[int, typer.Option(min=1, help="Simulated clients.")] = 8,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a project: a run config with a comment to every key, and a README.

    With --dataset, columns and other keys that the data wants are filled in.

    Example: ilora init tickets --dataset tickets.csv
    """
    from ilora_app.tasks import places

    if name.exists() and (not name.is_dir() or any(name.iterdir())):
        _refuse(f"{name}: expected a new or empty folder")
    if dataset is not None and (wrong := places.absent(dataset)):
        _refuse(wrong)
    from ilora_app.cli.run_request import Request, RequestError

    options = {"task": task, "model": model, "dataset": dataset}
    given = {key: value for key, value in options.items() if value is not None}
    try:
        asked, settings, _ = Request("", (), given).read()
    except RequestError as error:
        _refuse(str(error))
    from ilora_app.tasks.libraries import quiet_libraries

    quiet_libraries()  # before what follows is imported, as that has much to say
    from ilora_app.check import project
    from ilora_app.check.settle import settle

    lines = {}
    if dataset is None:
        settings = _on(settings, _DATA)
        lines["dataset"] = f"Put your file here, or name it: {_DATA} is not there yet."
    else:
        settled = settle(settings, frozenset(asked))
        if settled.problems:
            _refuse("\n".join(settled.problems))
        lines = {one.key: f"Set since {one.why}." for one in settled.suggestions}
        settings = _on(settled.settings, _beside(settled.settings.data.dataset, name))
    try:
        project.write(name, settings, clients, lines)
    except OSError as error:
        _refuse(f"{name}: cannot be written ({error})")
    if json_:
        files = [str(name / file) for file in (project.CONFIG, project.README)]
        typer.echo(terminal.as_json({"folder": str(name), "files": files}))
        return
    typer.echo(f"{name}: {project.CONFIG}, {project.README}")
    typer.echo(f"next: cd {shlex.quote(str(name))} && ilora check {project.CONFIG}")


def _on(settings: "Settings", dataset: str) -> "Settings":
    return replace(settings, data=replace(settings.data, dataset=dataset))


def _beside(dataset: str, folder: Path) -> str:
    """A local file as seen from the project, so that both can move together."""
    place = Path(dataset)
    if not place.is_absolute():
        return dataset
    return Path(os.path.relpath(place, folder.resolve())).as_posix()


def _refuse(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(MISTAKE)
