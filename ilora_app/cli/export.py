"""``ilora export``: a run as what plain transformers and PEFT load."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ilora_app.cli.complete import runs
from ilora_app.cli.naming import MISTAKE, place_of


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Id of a run, a beginning of it that no other has, or its folder.",
            autocompletion=runs,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to make; new or empty.")],
    rank: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rank of the adapter: the best approximation of the global update; "
            "else all of it.",
        ),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="The whole model instead of an adapter.")
    ] = False,
    round_: Annotated[
        Literal["last", "best"],
        typer.Option("--round", help="Whose model; best is by best-metric."),
    ] = "last",
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Evaluate it on the run's test split, for the card."
        ),
    ] = False,
    push: Annotated[
        str, typer.Option(metavar="HUB_ID", help="Also upload it, as OWNER/NAME.")
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="Upload it for everybody to see.")
    ] = False,
) -> None:
    """Export the model of a run, with a card.

    Example: ilora export 20260131-120000-42 --rank 8 --out adapter
    """
    from ilora_app.quiet import quiet_libraries

    quiet_libraries()  # before what follows is imported, as that has much to say
    from ilora_app.release import export as export_
    from ilora_app.release import hub
    from ilora_app.release.source import ReleaseError
    from ilora_app.tasks.models import ModelError

    out = out.expanduser().absolute()
    request = export_.Request(place_of(run), out, rank or 0, merge, round_, measure)
    try:
        if public and not push:
            raise ReleaseError("--public: expected with --push HUB_ID")
        if push:
            hub.check(push)
        made = export_.export(request)
        typer.echo(f"{out}: {_described(made.merged, made.rank)}")
        if made.energy < 1.0:
            typer.echo(f"it holds {100 * made.energy:.2f} % of the global update")
        for name, value in made.measured:
            typer.echo(f"{name} {value:.4f}")
        if push:
            typer.echo(hub.push(out, push, public))
    except (ReleaseError, ModelError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error


def _described(merged: bool, rank: int) -> str:
    return "the whole model" if merged else f"an adapter of rank {rank}"
