"""``ilora doctor``: whether this machine can run the app, and what to do if not."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import presets
from ilora_app.cli.naming import MISTAKE

if TYPE_CHECKING:
    from ilora_app.doctor.finding import Finding

PROBLEMS = 1
_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow")}


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the model hub.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder with a node's own data: look at it too.")
    ] = None,
    node_config: Annotated[
        str,
        typer.Option(help="What the SuperNode has as --node-config: look at it too."),
    ] = "",
    classes: Annotated[
        str, typer.Option(help="Those of the run: with commas, or a file, one a line.")
    ] = "",
    task: Annotated[str | None, typer.Option(help="task of the run.")] = None,
    config: Annotated[
        str,
        typer.Option(help="Run config, as for ilora run.", autocompletion=presets),
    ] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the run config; can be repeated."),
    ] = None,
) -> None:
    """Look at Python, packages, devices, memory, folders and connections.

    And at the data of a node, with --data or --node-config, as a run would read it: it
    says here what a node tells nobody. Exits with 1 where there is a problem; a warning
    is none.

    Example: ilora doctor --data /srv/ilora/data --classes travel,banking
    """
    from rich.text import Text

    from ilora_app.doctor.examine import examine

    findings = []
    console = terminal.console()
    more = []
    if data or node_config:
        given: dict[str, object] = {"task": task} if task else {}
        pairs = tuple(set_ or ())
        more = [_look_at_data(data, node_config, classes, config, pairs, given)]
    for finding in examine(network=not offline, more=more):
        findings.append(finding)
        if json_:
            continue
        mark, style = _MARKS.get(finding.state, (finding.state, "bold red"))
        line = Text(f"{mark:<9}", style=style)
        line.append(f"{finding.name}: ", style="bold").append(finding.found, style="")
        console.print(line, soft_wrap=True)
        if finding.advice:
            console.print(Text(f"{'':<9}-> {finding.advice}"), soft_wrap=True)
    if json_:
        typer.echo(terminal.as_json([asdict(f) for f in findings], indent=1))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(PROBLEMS)


def _look_at_data(
    folder: Path | None,
    node_config: str,
    classes: str,
    preset: str,
    pairs: tuple[str, ...],
    given: dict[str, object],
) -> "Callable[[], Iterator[Finding]]":
    """Make the look at a node's data.

    Raises:
        typer.Exit: with 2, where the options have mistakes.

    """
    from ilora_app.tasks.libraries import quiet_libraries

    quiet_libraries()
    from click import ClickException
    from flwr.common.config import parse_config_args

    from ilora_app.cli.run_request import Request, RequestError
    from ilora_app.doctor import data

    try:
        request = Request(preset, pairs, given, simulated=False)
        run_config, _ = request.resolve()
        facts = parse_config_args([node_config] if node_config else None)
        if folder:
            facts["data-path"] = str(folder.expanduser().absolute())
            facts.setdefault("lora-rank", "auto")
        file = Path(classes).expanduser()
        names = classes.split(",") if classes else []
        if classes and file.is_file():
            names = file.read_text(encoding="utf-8").splitlines()
    except (RequestError, ClickException, OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    wanted = tuple(name.strip() for name in names if name.strip())
    return partial(data.data, facts, run_config, wanted)
