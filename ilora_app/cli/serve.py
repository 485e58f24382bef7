"""``ilora serve``: a model behind HTTP, with a page to try it in the browser."""

import math
from socket import socket
from typing import Annotated, NoReturn

import typer

from ilora_app.cli import terminal
from ilora_app.cli.complete import runs
from ilora_app.cli.naming import MISTAKE, Base, Round, place_of, usable


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
    # What is wrong with these is said before torch is loaded.
    place = place_of(source)
    if not max_megabytes < math.inf:
        _refuse(f"--max-megabytes {max_megabytes}: expected a number")
    from ilora_app.serve import address

    try:
        taken = address.listen(host, port)
    except address.AddressError as error:
        _refuse(str(error))
    with taken:
        usable(place, round_, base)
        limits = max_inputs, max_megabytes, max_new_tokens
        _serve(place, round_, base, host, taken, limits, json_)


def _serve(
    place: str,
    round_: str,
    base: str,
    host: str,
    taken: socket,
    limits: tuple[int, float, int],
    as_json: bool,
) -> None:
    """Load the model, say where it is, and serve it."""
    from ilora_app.cli.interrupts import interruptible
    from ilora_app.serve import address
    from ilora_app.tasks.libraries import quiet_libraries

    quiet_libraries()  # before what follows is imported, as that has much to say
    with interruptible():
        try:
            from ilora_app.export.places import ReleaseError
            from ilora_app.predict.predictor import Predictor
            from ilora_app.serve import app, server
            from ilora_app.serve.asked import Limits
            from ilora_app.tasks.models import ModelError

            try:
                predictor = Predictor(place, round_, base)
            except (ReleaseError, ModelError) as error:
                _refuse(str(error))
            alone = address.is_loopback(host)
            if predictor.note:
                typer.echo(predictor.note, err=True)
            if not alone:
                typer.echo(
                    f"--host {host}: everybody who reaches this machine can ask the "
                    "model; there is no TLS and no password: put a proxy with both "
                    "before it",
                    err=True,
                )
            inputs, megabytes, new_tokens = limits
            most = Limits(inputs=inputs, megabytes=megabytes, new_tokens=new_tokens)
            names = ("127.0.0.1", "localhost", "::1", host) if alone else ()
            name = place.rstrip("/").rpartition("/")[2]
            made = app.make(predictor, name, most, names)
            where = address.url(host, taken)
        except KeyboardInterrupt:  # while the model was being loaded
            raise typer.Exit from None
    if as_json:
        said = {"url": where, "model": name, "task": predictor.facts.task}
        print(terminal.as_json(said), flush=True)
    else:
        print(f"{where} (Ctrl-C ends it)", flush=True)
    server.run(made, taken)


def _refuse(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(MISTAKE)
