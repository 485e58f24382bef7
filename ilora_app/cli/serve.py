"""``ilora serve``: a model behind HTTP, with a page to try it in the browser."""

from typing import Annotated

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import runs
from ilora_app.cli.naming import MISTAKE, Base, Round, place_of


def serve(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Exported folder, or a run: its id, a beginning of it that no other "
            "has, its folder, or latest.",
            autocompletion=runs,
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0: any that is free.")
    ] = 8000,
    base: Base = "",
    round_: Round = "last",
    max_inputs: Annotated[int, typer.Option(min=1, help="Rows of one request.")] = 64,
    max_megabytes: Annotated[
        float, typer.Option(min=0.001, help="Size of one request.")
    ] = 8.0,
    max_new_tokens: Annotated[
        int,
        typer.Option(min=1, help="That a language model writes for a row at most."),
    ] = 512,
    json_: Annotated[
        bool, typer.Option("--json", help="Say as JSON where it listens.")
    ] = False,
) -> None:
    """Serve an exported adapter, a merged model, or a run, until Ctrl-C or SIGTERM.

    POST /predict takes {"inputs": ["a text"]} and answers as predict --json does; /
    is a page to try it, and GET /health says what is served.

    Example: ilora serve adapter --port 8000
    """
    from ilora_app.cli.interrupts import interruptible

    place = place_of(source)  # what is wrong with it is said before torch is loaded
    from ilora_app.tasks.libraries import quiet_libraries

    quiet_libraries()  # before what follows is imported, as that has much to say
    with interruptible():
        try:
            from ilora_app.export.source import ReleaseError
            from ilora_app.predict.predictor import Predictor
            from ilora_app.serve import app, server
            from ilora_app.serve.asked import Limits
            from ilora_app.tasks.models import ModelError

            try:
                taken = server.listen(host, port)
                try:
                    predictor = Predictor(place, round_, base)
                except BaseException:
                    taken.close()
                    raise
            except (ReleaseError, ModelError) as error:
                typer.echo(str(error), err=True)
                raise typer.Exit(MISTAKE) from error
            alone = server.is_loopback(host)
            if predictor.note:
                typer.echo(predictor.note, err=True)
            if not alone:
                typer.echo(
                    f"--host {host}: everybody who reaches this machine can ask the "
                    "model; there is no TLS and no password: put a proxy with both "
                    "before it",
                    err=True,
                )
            limits = Limits(
                inputs=max_inputs, megabytes=max_megabytes, new_tokens=max_new_tokens
            )
            names = ("127.0.0.1", "localhost", "[::1]", host) if alone else ()
            name = place.rstrip("/").rpartition("/")[2]
            made = app.make(predictor, name, limits, names)
            address = server.url(host, taken)
        except KeyboardInterrupt:  # while the model was being loaded
            raise typer.Exit from None
    if json_:
        said = {"url": address, "model": name, "task": predictor.facts.task}
        print(terminal.as_json(said), flush=True)
    else:
        print(f"{address} (Ctrl-C ends it)", flush=True)
    server.run(made, taken)
