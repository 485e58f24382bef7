"""``ilora run``: one run, from start to end, with a live view."""

from pathlib import Path
from typing import Annotated

import typer

from ilora_app.cli import run_data, terminal
from ilora_app.cli.complete import presets, strategies, superlinks, trackers
from ilora_app.cli.interrupts import exit_code, interruptible

# Exit codes.
RUN_FAILED, MISTAKE = 1, 2


def run(
    file: Annotated[
        str,
        typer.Argument(
            metavar="[CONFIG]",
            help="Run config: the path of a .toml or .yaml file, or a preset's name.",
            autocompletion=presets,
        ),
    ] = "",
    config: Annotated[
        str,
        typer.Option(help="The same as CONFIG.", autocompletion=presets),
    ] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of any run-config key; can be repeated."),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Method.", autocompletion=strategies)
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="num-server-rounds.")] = None,
    ranks: Annotated[
        str | None, typer.Option(help="client-ranks, such as 2,4,8,16.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="learning-rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="seed.")] = None,
    task: Annotated[str | None, typer.Option(help="task.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub id, package or folder of the model.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="File, folder, packaged set or hub id."),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(help="tensorboard, wandb, mlflow.", autocompletion=trackers),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder; else a new one under $ILORA_RUNS, or ~/.ilora/runs."
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with a run: latest, its folder, or its id."),
    ] = None,
    clients: Annotated[
        int | None, typer.Option(help="Simulated clients; else the preset's, else 8.")
    ] = None,
    cpus: Annotated[
        float | None, typer.Option(help="CPU cores of a simulated client; else 1.")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(help="GPUs of a simulated client, such as 0.25.")
    ] = None,
    ray_address: Annotated[
        str,
        typer.Option(
            help="Run the clients on the Ray cluster at HOST:PORT, or auto, instead of "
            "in processes of this machine alone.",
        ),
    ] = "",
    superlink: Annotated[
        str,
        typer.Option(
            help="Use the SuperLink of this name in Flower's config.toml, instead of "
            "starting one for this run.",
            autocompletion=superlinks,
        ),
    ] = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="Plain lines, also in a terminal.")
    ] = False,
    json_: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one line of JSON at the end: folder, status, metrics; all else "
            "goes to stderr.",
        ),
    ] = False,
) -> None:
    """Run a federation, and show how it goes.

    Options win over --set, and --set over CONFIG. Exits with 0 where the run
    finished, 1 where it failed, 2 where the command has mistakes, 130 on Ctrl-C, and
    143 on SIGTERM, which ends it as Ctrl-C does.

    Example: ilora run --clients 8 --strategy ilora --rounds 10 --set local-steps=20
    """
    from ilora_app.cli import run_checks
    from ilora_app.cli.run_request import Request, RequestError

    options = {
        "strategy": strategy, "num-server-rounds": rounds, "client-ranks": ranks,
        "learning-rate": lr, "seed": seed, "task": task, "model": model,
        "dataset": dataset, "track": track, "resume": resume,
        "output-dir": None if out is None else str(out),
    }  # fmt: skip
    given = {key: value for key, value in options.items() if value is not None}
    request = Request(
        file or config, tuple(set_ or ()), given, clients, cpus, gpus, not superlink,
        ray_address,
    )  # fmt: skip
    both = file and config and f"CONFIG {file!r} and --config {config!r}: expected one"
    named = (
        () if superlink else run_data.absent(file or config, set_ or (), dataset, model)
    )
    _refuse_early(both, *named, run_checks.superlink(superlink), *request.early())
    from ilora_app.cli.run_session import Session
    from ilora_app.watch.lines import duration

    try:
        settings, federation = request.resolve()
    except RequestError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    for note in request.notes:
        typer.echo(f"note: {note}", err=True)
    view = terminal.console(stderr=json_, plain=plain)
    session = Session(settings, federation, superlink, view, ray_address)
    code = RUN_FAILED
    try:
        with interruptible():
            outcome = session.run()
    except KeyboardInterrupt as stopped:
        outcome, code = session.outcome(), exit_code(stopped)
    where = f"; run folder: {outcome.folder}" if outcome.folder else ""
    if outcome.status == "finished":
        if outcome.worth:
            typer.echo(outcome.worth, err=json_)
        typer.echo(f"finished in {duration(outcome.seconds)}{where}", err=json_)
    elif outcome.status == "failed":
        typer.echo(f"failed: {outcome.reason}{where}", err=True)
    else:
        on = f"; --resume {outcome.folder} goes on" if outcome.folder else ""
        typer.echo(f"stopped{where}{on}", err=True)
    if json_:
        typer.echo(outcome.line())
    raise typer.Exit(0 if outcome.status == "finished" else code)


def _refuse_early(*problems: str) -> None:
    """End the command over what is known before anything that takes time is loaded."""
    from ilora_app.cli.run_request import RequestError

    if found := [problem for problem in dict.fromkeys(problems) if problem]:
        typer.echo(str(RequestError(found)), err=True)
        raise typer.Exit(MISTAKE)
