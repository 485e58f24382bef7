"""``ilora compare``: every strategy on the same data, seeds and learning rates."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ilora_app.cli import terminal
from ilora_app.cli.interrupts import exit_code, interruptible
from ilora_app.cli.naming import in_the_way

if TYPE_CHECKING:
    from rich.console import Console

    from ilora_app.compare.engines import Engine
    from ilora_app.compare.plan import Plan
    from ilora_app.compare.request import Request

# Exit codes.
RUN_FAILED, MISTAKE = 1, 2


def compare(
    out: Annotated[Path, typer.Option(help="Folder of the comparison.")],
    strategies: Annotated[
        str,
        typer.Option(
            help="NAME[+KEY=VALUE]... with commas between; all stands for every one."
        ),
    ] = "all",
    presets: Annotated[
        str,
        typer.Option(help="Names of files in configs/, or paths of .toml files."),
    ] = "default",
    seeds: Annotated[int, typer.Option(help="How many: 0, 1, ...")] = 3,
    lr: Annotated[
        str, typer.Option(help="Learning rates, the same for every method.")
    ] = "0.001,0.003,0.01",
    select_seeds: Annotated[
        int, typer.Option(help="Seeds that choose the learning rate.")
    ] = 1,
    lr_from: Annotated[
        str, typer.Option(help="Preset under which the rates are chosen for all.")
    ] = "",
    lr_search: Annotated[
        Literal["all", "near"],
        typer.Option(
            help="all rates for every method; or start with the three in the middle "
            "and go on to the neighbours of a method's best."
        ),
    ] = "all",
    lr_finalists: Annotated[
        int,
        typer.Option(
            help="How many of a method's best rates are run with all seeds, to choose "
            "by the mean over them."
        ),
    ] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for all runs; can be repeated."),
    ] = None,
    clients: Annotated[
        int | None, typer.Option(help="How many; else the preset's, else 8.")
    ] = None,
    engine: Annotated[
        Literal["ray", "local"],
        typer.Option(help="ray: flwr run. local: processes without Ray."),
    ] = "ray",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of the local engine; else the cores."),
    ] = None,
    target: Annotated[
        str, typer.Option(help="Accuracy to reach; auto: 95 % of the best row's.")
    ] = "auto",
    grid: Annotated[
        str,
        typer.Option(
            help="'strategy x KEY': every strategy with every value of a setting, such "
            "as drift-correction, with a heat map of what each value is worth."
        ),
    ] = "",
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Write the outputs, run nothing.")
    ] = False,
    json_: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one line of JSON at the end: files, rows, failures; all else "
            "goes to stderr.",
        ),
    ] = False,
) -> None:
    """Compare strategies; run again to go on where it was stopped.

    Writes index.html, table.md, .csv and .tex, and figures as png, pdf and svg.

    Example: ilora compare --strategies ilora,fedit --seeds 3 --out comparison
    """
    from ilora_app.compare.request import Request, RequestError
    from ilora_app.runs.places import outside
    from ilora_app.settings import options

    console = terminal.console(stderr=json_)
    out = options.folder(out).resolve()
    request = Request(
        strategies, presets, seeds, lr, select_seeds, lr_from, tuple(set_ or ()),
        clients, target, lr_search, lr_finalists, grid, engine, workers,
    ).placed()  # fmt: skip
    try:
        if wrong := in_the_way(out):
            raise RequestError([wrong])
        if not report_only and (right := outside(out)):
            raise RequestError([f"--out {out}: expected {right}"])
        if report_only:
            request = Request.load(out)
            if target != "auto":
                request = replace(request, target=target)
        request.check()
    except RequestError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    from ilora_app.cli import run_checks
    from ilora_app.compare.runner import FolderError, locked

    try:
        if report_only:
            plan, left_out = request.plan(out)
            _finish(plan, request, console, json_)
            return
        plan, left_out = request.plan(out)
        if problems := run_checks.absent(entry.config for entry in plan.entries):
            raise RequestError(problems)
        if conflicts := plan.conflicts():
            advice = f"--out {out} holds finished runs with another config; choose "
            raise RequestError([f"{advice}another --out: {', '.join(conflicts)}"])
        for problem in left_out:
            console.print(f"left out: {problem}", markup=False, soft_wrap=True)
        runs_on = _engine(engine, out, workers)
        with locked(out):
            request.save(out)
            _run(plan, request, runs_on, console)
        _finish(plan, request, console, json_)
    except (RequestError, FolderError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    except KeyboardInterrupt as stopped:
        console.print("stopped; the same command goes on from here")
        raise typer.Exit(exit_code(stopped)) from None


def _run(
    plan: "Plan", request: "Request", engine: "Engine", console: "Console"
) -> None:
    from ilora_app.compare import report, runner
    from ilora_app.compare.progress import Progress

    progress = Progress(plan, console, getattr(engine, "workers", 1))

    def report_so_far() -> None:
        report.write(plan, request, draft=True)

    with interruptible(), progress.shown():
        runner.run(plan, engine, progress, report_so_far)


def _finish(
    plan: "Plan", request: "Request", console: "Console", as_json: bool
) -> None:
    """Write the outputs, say where they are, and fail where a run did."""
    from ilora_app.compare import report
    from ilora_app.compare.tables import failures, numbers

    sections = report.write(plan, request)
    files = [str(plan.out / name) for name in report.files(request)]
    failed = [(s.name, runs, reason) for s in sections for runs, reason in failures(s)]
    for preset, runs, reason in failed:
        line = f"failed: {preset}, {runs}: {reason}"
        console.print(line, markup=False, soft_wrap=True)
    if as_json:
        said = {
            "folder": str(plan.out),
            "files": files,
            "rows": numbers(sections),
            "failures": [
                {"preset": preset, "runs": runs, "reason": reason}
                for preset, runs, reason in failed
            ],
        }
        typer.echo(terminal.as_json(said))
    else:
        for file in files:
            console.print(file, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(RUN_FAILED)


def _engine(name: str, out: Path, workers: int | None) -> "Engine":
    import os

    from ilora_app.compare.local_engine import LocalEngine
    from ilora_app.compare.ray_engine import RayEngine

    if name == RayEngine.name:
        return RayEngine(out / "flower")
    return LocalEngine(workers or os.cpu_count() or 1)
