"""``ilora export``: a run as what plain transformers and PEFT load."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import runs
from ilora_app.cli.naming import MISTAKE, run_place_of

if TYPE_CHECKING:
    from ilora_app.export.card import Summary
    from ilora_app.export.request import Request


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run: its id, a beginning of it that no other has, its folder, or "
            "latest.",
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
    for_: Annotated[
        Literal["vllm", "llama.cpp", "tgi", "transformers"] | None,
        typer.Option(
            "--for",
            help="Server to make it for: at a rank that it takes, or refused with the "
            "reason, and the command that serves it.",
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
    base_name: Annotated[
        str,
        typer.Option(
            help="What others call the base model, such as its hub id; else that, or "
            "the last part of its folder's name."
        ),
    ] = "",
    push: Annotated[
        str, typer.Option(metavar="HUB_ID", help="Also upload it, as OWNER/NAME.")
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="Upload it for everybody to see.")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print JSON: what was made, and where.")
    ] = False,
) -> None:
    """Export the model of a run, with a card.

    Example: ilora export 20260131-120000-42 --rank 8 --out adapter
    Example: ilora export latest --for vllm --out adapter
    """
    place = run_place_of(run)  # what is wrong with it is said before torch is loaded
    from ilora_app.tasks.libraries import quiet_libraries

    quiet_libraries()  # before what follows is imported, as that has much to say
    from ilora_app.export import hub
    from ilora_app.export import request as export_
    from ilora_app.export.places import ReleaseError
    from ilora_app.settings import options
    from ilora_app.tasks.models import ModelError

    out = options.folder(out).absolute()
    asked = rank or 0, merge, round_, measure, for_ or "", base_name.strip()
    request = export_.Request(place, out, *asked)
    try:
        if public and not push:
            raise ReleaseError("--public: expected with --push HUB_ID")
        if push:
            hub.check(push)
        made = export_.export(request)
        if not json_:
            typer.echo("\n".join(_lines(request, made)))
        address = hub.push(out, push, public) if push else None
        if json_:
            typer.echo(_object(request, made, address))
        elif address:
            typer.echo(address)
    except (ReleaseError, ModelError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error


def _lines(request: "Request", made: "Summary") -> list[str]:
    """Say to people what was made."""
    from ilora_app.export.serving import commands
    from ilora_app.export.targets import SUFFICIENT

    what = "the whole model" if made.merged else f"an adapter of rank {made.rank}"
    lines = [f"{request.out}: {what}"]
    if made.energy < 1.0:
        lines.append(f"it holds {100 * made.energy:.2f} % of the global update")
        if made.magnitudes:
            lines.append("its magnitudes are those of the whole update")
    elif 0 < made.sufficient < made.rank and not request.rank:
        lines.append(
            f"--rank {made.sufficient} would hold {100 * SUFFICIENT:g} % of it or more"
        )
    lines += [f"{name} {value:.4f}" for name, value in made.measured]
    where = str(request.out)
    return lines + list(
        commands(made.target, where, made.place, made.merged, made.rank)
    )


def _object(request: "Request", made: "Summary", address: str | None) -> str:
    """Say the same as JSON; energy is the part of the global update that is kept."""
    from ilora_app.export.serving import commands

    where = str(request.out)
    said = {
        "folder": where,
        "kind": "model" if made.merged else "adapter",
        "rank": None if made.merged else made.rank,
        "round": made.round,
        "energy": made.energy,
        "sufficient_rank": made.sufficient or None,
        "measured": dict(made.measured),
        "target": made.target or None,
        "commands": commands(made.target, where, made.place, made.merged, made.rank),
        "pushed": address,
    }
    return terminal.as_json(said)
