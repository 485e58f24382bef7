"""``ilora audit``: whether a model tells what it was trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import runs
from ilora_app.cli.naming import MISTAKE, Base, Round, in_the_way, place_of, usable

if TYPE_CHECKING:
    from ilora_app.export.source import Source

FEW = 100
"""Non-members, of which one would be 1 %."""


def audit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run: its id, a beginning of it that no other has, its folder, or "
            "latest; or an exported folder.",
            autocompletion=runs,
        ),
    ],
    members: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Rows that were trained on: a file, a folder or a set, with @SPLIT "
            "behind it where it has several; else those that the run dealt out.",
        ),
    ] = "",
    non_members: Annotated[
        str,
        typer.Option(
            metavar="DATA", help="Rows that were not; else the test split of the run."
        ),
    ] = "",
    column: Annotated[
        str,
        typer.Option(
            help="Column of DATA with the class or the answer; else that of the run, "
            "or found by its name."
        ),
    ] = "",
    base: Base = "",
    round_: Round = "last",
    most: Annotated[
        int, typer.Option(min=10, help="Rows of each kind; of more, so many are drawn.")
    ] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows at a time.")] = 32,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for membership.json and membership.png; else that of the run, "
            "whose privacy.html then shows them."
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Attack a model: can rows that it was trained on be told from others?

    A row is called a member where the model's loss on it is low. An AUC of 0.5 is
    guessing. A run is tested on what it was trained on, unless both kinds are named.

    Example: ilora audit 20260102-101500-123
    """
    named = place_of(model)  # what is wrong with it is said before torch is loaded
    usable(named, round_, base)
    _check(members, non_members, out)
    from ilora_app.tasks.libraries import quiet_libraries

    quiet_libraries()  # before what follows is imported, as that has much to say
    from ilora_app.audit import membership
    from ilora_app.export.places import ReleaseError
    from ilora_app.settings import options
    from ilora_app.tasks.models import ModelError
    from ilora_app.tasks.sources import DataError

    how = members, non_members, column, round_, most, seed, batch_size, base
    try:
        found, source = membership.audited(named, *how)
    except (ReleaseError, ModelError, DataError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    _say(found, json_)
    if place := options.folder(out) if out else source and source.run:
        try:
            _write(found, place, source)
        except OSError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(MISTAKE) from error
        if not json_:
            typer.echo(str(place / "membership.json"))


def _check(members: str, non_members: str, out: Path | None) -> None:
    """Find mistakes before what takes minutes."""
    problems = []
    if bool(members) != bool(non_members):
        problems.append("expected --members and --non-members, or neither")
    if out and (wrong := in_the_way(out)):
        problems.append(wrong)
    if problems:
        typer.echo("\n".join(problems), err=True)
        raise typer.Exit(MISTAKE)


def _say(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(terminal.as_json(found))
        return
    for name, text in (("auc", "AUC"), ("tpr", "members found at 1 % false positives")):
        low, high = found[f"{name}_interval"]
        typer.echo(f"{text}: {found[name]:.4f} (95 %: {low:.4f} to {high:.4f})")
    typer.echo(f"{found['members']} members, {found['non_members']} non-members")
    if found["non_members"] < FEW:
        typer.echo(f"1 % of fewer than {FEW} non-members is no row: look at the AUC")


def _write(found: dict[str, Any], place: Path, source: "Source | None") -> None:
    from ilora_app.report import membership, privacy_page
    from ilora_app.runs.places import MEMBERSHIP
    from ilora_app.runs.writing import whole

    place.mkdir(parents=True, exist_ok=True)
    whole(place / MEMBERSHIP, terminal.as_json(found, indent=1) + "\n")
    membership.draw(found, place / "membership.png")
    if source and place == source.run:
        privacy_page.write(place)
