"""``ilora check``: what a data set holds and is worth, and the command to run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ilora_app.cli import terminal
from ilora_app.cli.naming import MISTAKE

if TYPE_CHECKING:
    from rich.console import Console

    from ilora_app.check.report import Report

PROBLEMS = 1
_CLASSES, _CLIENTS = 8, 16


def check(
    data: Annotated[
        str,
        typer.Argument(
            help="File, folder, packaged set or hub id; or a run config (.toml, .yaml)."
        ),
    ],
    task: Annotated[str | None, typer.Option(help="task; else by the columns.")] = None,
    model: Annotated[str | None, typer.Option(help="model.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of any run-config key; can be repeated."),
    ] = None,
    clients: Annotated[
        int | None, typer.Option(help="That the rows are dealt out to; else 8.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Fit models without training.")
    ] = True,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at data before a run: columns, classes, lengths, overlap, what it is worth.

    Says which keys to set, and prints the command that runs it. Exits with 1 where
    something would end the run.

    Example: ilora check reviews.csv
    """
    from ilora_app.launch import config_files
    from ilora_app.tasks import places

    is_config = Path(data).suffix.lower() in config_files.ENDS
    if not is_config and (wrong := places.absent(data)):
        typer.echo(wrong, err=True)
        raise typer.Exit(MISTAKE)
    from ilora_app.cli.run_request import Request, RequestError

    options = {"task": task, "model": model, "dataset": None if is_config else data}
    given = {key: value for key, value in options.items() if value is not None}
    request = Request(data if is_config else "", tuple(set_ or ()), given, clients)
    try:
        asked, settings, number = request.read()
    except RequestError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    from ilora_app.tasks.libraries import quiet_libraries

    quiet_libraries()  # before what follows is imported, as that has much to say
    from ilora_app.check.report import steps

    words = [data] if is_config else ["--dataset", data]
    for key, value in (("--task", task), ("--model", model)):
        words += [key, value] if value else []
    words += [word for pair in set_ or () for word in ("--set", pair)]
    console = terminal.console(stderr=json_)
    found = None
    for step, found in steps(settings, asked, number, words, probe):
        if not json_:
            _STEPS[step](found, console)
    assert found
    if json_:
        typer.echo(terminal.as_json(found.plain(), indent=1))
    if found.problems:
        raise typer.Exit(PROBLEMS)


def _data(found: "Report", console: "Console") -> None:
    _title(console, "columns")
    by_column = {
        name: key for key, value in found.read.items() for name in value.split(",")
    }
    for name, kind in found.columns.items():
        use = f"  {by_column[name]}" if name in by_column else ""
        _line(console, f"{name}: {kind}{use}")
    for name, one in found.splits.items():
        _title(console, f"{name}: {one.rows} rows")
        if one.classes:
            listed = [f"{label} {count}" for label, count in one.classes[:_CLASSES]]
            left = len(one.classes) - _CLASSES
            more = [f"and {left} more"] if left > 0 else []
            _line(console, f"{len(one.classes)} classes: {', '.join(listed + more)}")
        if one.unlabelled:
            _line(console, f"{one.unlabelled} rows without a class")
        for column, count in one.empty:
            _line(console, f"{count} rows without a value of {column}")
        if one.repeated:
            rows = (
                "1 row repeats" if one.repeated == 1 else f"{one.repeated} rows repeat"
            )
            _line(console, f"{rows} an earlier one")


def _lengths(found: "Report", console: "Console") -> None:
    if lengths := found.lengths:
        data, sound = found.settings.data, lengths.unit == "seconds"
        limit = f"max-seconds = {data.max_seconds:g}"
        limit = limit if sound else f"max-length = {data.max_length}"
        cut = (
            f"; {limit} cuts {lengths.cut:.1%}"
            if lengths.cut is not None
            else "; how many max-length cuts is not known without the model's tokenizer"
        )
        _title(console, f"length of the {'recordings' if sound else 'texts'}")
        _line(
            console,
            f"{lengths.unit}: median {lengths.median}, 95 % up to {lengths.most}, "
            f"longest {lengths.longest}{cut}",
        )


def _deal(found: "Report", console: "Console") -> None:
    if found.deal:
        _title(console, f"dealt out to {len(found.deal)} clients")
    for share in found.deal[:_CLIENTS]:
        top = ", ".join(f"{name} {count}" for name, count in share.classes[:4])
        more = f" and {len(share.classes) - 4} more" if len(share.classes) > 4 else ""
        classes = f": {top}{more}" if top else ""
        _line(
            console,
            f"client {share.client}, rank {share.rank}, {share.rows} rows{classes}",
        )
    if len(found.deal) > _CLIENTS:
        _line(console, f"and {len(found.deal) - _CLIENTS} more clients")


def _scores(found: "Report", console: "Console") -> None:
    _title(console, "test accuracy without training")
    for score in found.scores:
        value = "none" if score.accuracy is None else f"{score.accuracy:.3f}"
        _line(console, f"{value}  {score.name} ({score.on})")


def _end(found: "Report", console: "Console") -> None:
    for title, lines in (
        ("worth to know", found.notes),
        (
            "keys to set",
            [f"{one.key} = {one.text}: {one.why}" for one in found.suggestions],
        ),
        ("would end the run", found.problems),
    ):
        if lines:
            _title(console, title)
        for line in lines:
            _line(console, line)
    if not found.problems:
        _title(console, "to run it")
        _line(console, found.command)


def _title(console: "Console", text: str) -> None:
    console.print(text, style="bold", markup=False, highlight=False)


def _line(console: "Console", text: str) -> None:
    console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)


_STEPS = {
    "data": _data, "lengths": _lengths, "deal": _deal, "scores": _scores, "end": _end,
}  # fmt: skip
