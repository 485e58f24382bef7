"""How a word of the command line names a run or a model, for every command alike."""

from pathlib import Path
from typing import Annotated, Literal

import typer

MISTAKE = 2

Base = Annotated[
    str,
    typer.Option(
        help="Base model of an adapter, a folder or a hub id; else that of its name "
        "here, in $ILORA_MODELS, or on the hub."
    ),
]
Round = Annotated[Literal["last", "best"], typer.Option("--round", help="Of a run.")]


def place_of(run: str) -> str:
    """Find the folder of a run by its path, its id or a beginning that one id has.

    A folder that is there is taken as it is: the command says what is wrong with it.

    Raises:
        typer.Exit: with 2, where there is none, or more than one.

    """
    from ilora_app.runs import history
    from ilora_app.settings import options

    root = history.default_root()
    places = [options.folder(run), root / run] if run.strip() else []
    for place in places:
        if place.is_dir():
            return str(place)
    return str(find(run, root))


def in_the_way(out: Path) -> str:
    """Say that a folder cannot be made, as a file is there or above it; else nothing.

    Args:
        out: value of --out.

    """
    from ilora_app.settings import options

    place = options.folder(out).absolute()
    there = next(one for one in (place, *place.parents) if one.exists())
    if there.is_dir():
        return ""
    return f"--out {out}: expected a folder; {there} is a file"


def run_place_of(run: str) -> str:
    """Find a run's folder as :func:`place_of` does, and see that it is one of a run.

    Raises:
        typer.Exit: with 2, where there is none.

    """
    from ilora_app.export.places import ReleaseError, find_run

    try:
        return str(find_run(place_of(run)))
    except ReleaseError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error


def find(run: str, root: Path, exact: bool = False) -> Path:
    """Find a run among those in a folder.

    Args:
        run: its id or folder, or a beginning of the id.
        root: folder of the runs.
        exact: a beginning is not enough; ``latest`` is.

    Raises:
        typer.Exit: with 2, where there is none, or more than one.

    """
    from ilora_app.runs import history

    try:
        return history.find(run, root, exact)
    except history.HistoryError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error


def usable(place: str, round_: str, base: str) -> None:
    """Look whether one can predict with a folder, as far as needs no torch.

    Raises:
        typer.Exit: with 2, where one cannot.

    """
    from ilora_app.export import early
    from ilora_app.export.places import ReleaseError

    try:
        early.check(place, round_, base)
    except ReleaseError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
