"""``ilora runs payloads``: a server's hashes of messages beside a node's."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import runs
from ilora_app.cli.naming import MISTAKE, place_of

ALTERED = 1


def payloads(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run: its id, a beginning of it that no other has, its folder, "
            "or latest; or its events.jsonl.",
            autocompletion=runs,
        ),
    ],
    log: Annotated[
        Path,
        typer.Argument(
            metavar="LOG",
            help="audit.jsonl of a node, or the folder it is in: it lies beside "
            "the node's state of the run.",
        ),
    ],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare what a server says it sent and received with what a node says.

    Ends with 1 where something is not what the other side says. What one side alone
    has may be lost on the way, and is listed.

    Example: ilora runs payloads 20260102-101500-123 node-3/audit.jsonl
    """
    from ilora_app.runs.payloads import as_line, compare
    from ilora_app.runs.places import AUDIT, EVENTS

    events = Path(run) if Path(run).is_file() else Path(place_of(run)) / EVENTS
    try:
        found = compare(events, log / AUDIT if log.is_dir() else log)
    except (OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    if json_:
        typer.echo(terminal.as_json(asdict(found)))
    else:
        for fact in (*found.altered, *found.missing):
            typer.echo(as_line(fact))
        typer.echo(
            f"{found.agree} messages and their answers agree, {len(found.altered)} are "
            f"altered, {len(found.missing)} are on one side alone"
        )
    if found.altered:
        raise typer.Exit(ALTERED)
