"""``ilora report``: what a run came to, as one page."""

from pathlib import Path
from typing import Annotated

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import runs
from ilora_app.cli.naming import MISTAKE, place_of


def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run: its id, a beginning of it that no other has, its folder, or "
            "latest.",
            autocompletion=runs,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; else report.html in the run folder."),
    ] = None,
    beside: Annotated[
        str,
        typer.Option(
            metavar="RUN",
            help="Another run, such as the same without drift correction, whose client "
            "drift is drawn beside this one's.",
            autocompletion=runs,
        ),
    ] = "",
    json_: Annotated[
        bool, typer.Option("--json", help="Print JSON: the run's folder, and the file.")
    ] = False,
    open_: Annotated[
        bool, typer.Option("--open", help="Show it in the browser.")
    ] = False,
) -> None:
    """Write the report of a run: one page that needs nothing beside it.

    A run writes it at its end by itself; a run that goes on can be looked at so far.

    Example: ilora report ~/.ilora/runs/20260102-101500-123 --open
    """
    folder = Path(place_of(run)).resolve()
    other = Path(place_of(beside)).resolve() if beside else None
    from ilora_app.report.page import write
    from ilora_app.report.reading import ReportError
    from ilora_app.settings import options

    try:
        file = write(folder, out and options.folder(out).resolve(), other)
    except (ReportError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    said = terminal.as_json({"run": str(folder), "file": str(file)})
    typer.echo(said if json_ else str(file))
    if open_:
        typer.launch(file.as_uri())
