"""``ilora doctor``: whether this machine can run the app, and what to do if not."""

from dataclasses import asdict
from typing import Annotated

import typer

from ilora_app.cli import terminal

PROBLEMS = 1
_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow")}


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the model hub.")
    ] = False,
) -> None:
    """Look at Python, packages, devices, memory, folders and connections.

    Exits with 1 where there is a problem; a warning is none.

    Example: ilora doctor --json
    """
    from rich.text import Text

    from ilora_app.doctor.examine import examine

    findings = []
    console = terminal.console()
    for finding in examine(network=not offline):
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
