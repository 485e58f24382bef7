"""``ilora predict``: labels with probabilities, or what a language model writes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import runs
from ilora_app.cli.naming import MISTAKE, Base, Round, place_of, usable

if TYPE_CHECKING:
    from ilora_app.predict.answers import Prediction


def predict(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Exported folder, or a run: its id, a beginning of it that no other "
            "has, its folder, or latest.",
            autocompletion=runs,
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts, or files of images or recordings; - reads lines from stdin."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="A .csv, .tsv or .jsonl file with the model's columns."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    json_: Annotated[
        bool, typer.Option("--json", help="One object a line; --file always does.")
    ] = False,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="That a language model writes at most.")
    ] = 64,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows at a time.")] = 32,
    base: Base = "",
    round_: Round = "last",
) -> None:
    """Predict with an exported adapter, a merged model, or a run.

    Example: ilora predict adapter "what is my balance" --top 3
    """
    # What is wrong with a name is said before torch is loaded.
    place = place_of(source)
    if bool(inputs) == bool(file):
        _refuse("expected texts or files, or --file, and not both")
    if file and not file.exists():
        _refuse(f"--file {file}: cannot be read: expected a .csv, .tsv or .jsonl file")
    usable(place, round_, base)
    from ilora_app.tasks.libraries import quiet_libraries

    quiet_libraries()  # before what follows is imported, as that has much to say
    from ilora_app.export.places import ReleaseError
    from ilora_app.predict import inputs as inputs_
    from ilora_app.predict.as_json import answer
    from ilora_app.predict.predictor import Predictor
    from ilora_app.settings.kinds import kind
    from ilora_app.tasks.models import ModelError
    from ilora_app.tasks.places import DataError

    words = list(inputs or [])
    if words == ["-"]:
        words = _lines_of_stdin()
    try:
        if bool(words) == bool(file):  # nothing came from stdin
            raise ReleaseError("expected texts or files, or --file, and not both")
        predictor = Predictor(place, round_, base)
        if predictor.note:
            typer.echo(predictor.note, err=True)
        if file:
            rows = inputs_.of_file(file, predictor.columns)
            if kind(predictor.facts.task).file:
                rows = inputs_.beside(rows, predictor.columns[0], file.parent)
        else:
            rows = inputs_.of_words(words, predictor.columns)
        as_json = json_ or file is not None
        for found in predictor.predict(rows, top, max_new_tokens, batch_size):
            said = _lines(found, len(rows) > 1)
            if as_json:
                said = terminal.as_json(answer(found), ensure_ascii=False)
            typer.echo(said)
    except (ReleaseError, ModelError, DataError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error


def _lines_of_stdin() -> list[str]:
    try:
        return [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
    except UnicodeDecodeError as error:
        typer.echo(f"-: expected text in {error.encoding}", err=True)
        raise typer.Exit(MISTAKE) from error


def _refuse(text: str) -> None:
    typer.echo(text, err=True)
    raise typer.Exit(MISTAKE)


def _lines(found: "Prediction", many: bool) -> str:
    """Write a prediction for people; of several each under its input."""
    lines = [" | ".join(found.row.values())] if many else []
    if found.number is not None:
        return "\n".join([*lines, f"{found.number:.4f}"])
    if found.tags:
        return "\n".join([*lines, *(f"{word}\t{tag}" for word, tag in found.tags)])
    if not found.labels:
        return "\n".join([*lines, found.completion])
    width = max(len(name) for name, _ in found.labels)
    indent = "  " if many else ""
    lines += [f"{indent}{name:<{width}}  {value:.4f}" for name, value in found.labels]
    return "\n".join(lines)
