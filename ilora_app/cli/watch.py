"""``ilora watch``: the report of a run in the browser, as the run goes on."""

from pathlib import Path
from typing import Annotated

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import runs
from ilora_app.cli.interrupts import interruptible
from ilora_app.cli.naming import MISTAKE, place_of


def watch(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Id of a run, a beginning of it that no other has, its folder, or "
            "latest.",
            autocompletion=runs,
        ),
    ] = "latest",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine; 0: a free one.")
    ] = 0,
    open_: Annotated[
        bool, typer.Option("--open", help="Show it in the browser.")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print JSON: the run's folder, and the URL.")
    ] = False,
) -> None:
    """Serve the report of a run on 127.0.0.1, made anew after every round.

    The page loads itself again when there is something new. Ctrl-C ends it.

    Example: ilora watch latest --open
    """
    folder = Path(place_of(run)).resolve()
    from ilora_app.report.live import LiveReport
    from ilora_app.runs import history

    if not history.is_run(folder):
        typer.echo(f"{folder} is not the folder of a run", err=True)
        raise typer.Exit(MISTAKE)
    try:
        server = LiveReport(folder, port)
    except OSError as error:
        right = "expected a free port, or 0 for any"
        typer.echo(f"--port {port}: {error}; {right}", err=True)
        raise typer.Exit(MISTAKE) from error
    said = terminal.as_json({"run": str(folder), "url": server.url})
    typer.echo(said if json_ else f"{server.url} (Ctrl-C ends it)")
    if open_:
        typer.launch(server.url)
    try:
        with interruptible(), server:
            server.serve_forever()
    except KeyboardInterrupt:
        pass
