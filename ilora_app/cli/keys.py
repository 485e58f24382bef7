"""``ilora keys``: what a federation over TLS with authenticated nodes needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ilora_app.deploy.keys import Request

MISTAKE = 2


def keys(
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    nodes: Annotated[
        int, typer.Option(min=0, help="How many nodes get a key pair.")
    ] = 3,
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="DNS name or IP address by which nodes reach the SuperLink; can be "
            "repeated. localhost, 127.0.0.1 and ::1 are always added."
        ),
    ] = None,
    days: Annotated[
        int,
        typer.Option(
            min=1,
            max=36500,
            help="How long the server's certificate is valid; the CA is valid for 3650 "
            "days or as long.",
        ),
    ] = 365,
    first: Annotated[int, typer.Option(min=1, help="Number of the first node.")] = 1,
    ca: Annotated[
        Path | None,
        typer.Option(help="Folder with ca.crt and ca.key to sign with: no new CA."),
    ] = None,
    nodes_only: Annotated[
        bool, typer.Option("--nodes-only", help="No CA and no server: nodes alone.")
    ] = False,
) -> None:
    """Make the CA, the server's certificate, and each node's key pair.

    Example: ilora keys --out keys --nodes 3 --host fl.example.org --host 192.0.2.7
    """
    from ilora_app.deploy.keys import KeysError, Request, make

    hosts = tuple(host or ())
    try:
        if nodes_only and (hosts or ca):
            raise KeysError("--nodes-only makes no server: expected no --host, no --ca")
        if not hosts and not nodes_only:
            raise KeysError(
                "--host is missing: expected the name or address by which nodes reach "
                "the SuperLink (or --nodes-only)"
            )
        request = Request(out.expanduser(), hosts, nodes, first, days, ca)
        make(request)
    except KeysError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    for line in what_goes_where(request):
        typer.echo(line)


def what_goes_where(request: "Request") -> list[str]:
    """Say who needs which of the files."""
    folder, names = request.out, request.node_names
    lines = []
    if request.hosts:
        if request.ca is None:
            lines.append(f"keep offline:       {folder / 'ca.key'}")
        files = ", ".join(
            str(folder / name)
            for name in ("ca.crt", "server.crt", "server.key", "superexec.secret")
        )
        lines.append(f"to the SuperLink:   {files}")
    for name in names:
        files = f"{folder / name}"
        if request.hosts:
            files += f", {folder / 'ca.crt'}"
        lines.append(f"to {name + ':':<17}{files}")
    if names:
        lines.append("then register each node's public key, once:")
        lines += [
            f"  flwr supernode register {folder / name}.pub <connection>"
            for name in names
        ]
    return lines
