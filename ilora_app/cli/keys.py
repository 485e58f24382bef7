"""``ilora keys``: what a federation over TLS with authenticated nodes needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from ilora_app.cli import terminal

if TYPE_CHECKING:
    from ilora_app.deploy.keys import Request

MISTAKE = 2


def keys(
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    nodes: Annotated[
        int, typer.Option(help="How many nodes get a key pair; with --ca also 0.")
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
            help="How long the server's certificate is valid; a new CA is valid for "
            "3650 days or as long, and that of --ca has to be.",
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
    json_: Annotated[
        bool, typer.Option("--json", help="Print JSON: which files go where; no key.")
    ] = False,
) -> None:
    """Make the CA, the server's certificate, and each node's key pair.

    Example: ilora keys --out keys --nodes 3 --host fl.example.org --host 192.0.2.7
    """
    from ilora_app.deploy.keys import KeysError, Request, make
    from ilora_app.settings import options

    hosts = tuple(host or ())
    try:
        if nodes_only and (hosts or ca):
            raise KeysError("--nodes-only makes no server: expected no --host, no --ca")
        if not hosts and not nodes_only:
            raise KeysError(
                "--host is missing: expected the name or address by which nodes reach "
                "the SuperLink (or --nodes-only)"
            )
        if nodes < (least := 0 if ca else 1):  # a renewed certificate needs no node
            aside = "" if ca else " (0 with --ca, to renew a certificate)"
            raise KeysError(f"--nodes {nodes}: expected {least} or more{aside}")
        request = Request(options.folder(out), hosts, nodes, first, days, ca)
        make(request)
    except KeysError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from error
    places = what_goes_where(request)
    typer.echo(terminal.as_json(places) if json_ else "\n".join(_lines(places)))


class Places(TypedDict):
    """Files by who needs them, as paths."""

    offline: list[str]
    superlink: list[str]
    nodes: dict[str, list[str]]
    register: list[str]


def what_goes_where(request: "Request") -> Places:
    """Say who needs which of the files; public keys are registered, once."""

    def paths(*names: str) -> list[str]:
        return [str(request.out / name) for name in names]

    names, server = request.node_names, bool(request.hosts)
    shared = ["ca.crt", "server.crt", "server.key"]
    if request.ca is None:  # else the server has one, and its SuperExec knows it
        shared.append("superexec.secret")
    return {
        "offline": paths("ca.key") if server and request.ca is None else [],
        "superlink": paths(*shared) if server else [],
        "nodes": {n: paths(n, *(["ca.crt"] if server else [])) for n in names},
        "register": paths(*(f"{name}.pub" for name in names)),
    }


def _lines(places: Places) -> list[str]:
    """Say it to people."""
    rows = [
        ("keep offline", places["offline"]),
        ("to the SuperLink", places["superlink"]),
    ]
    rows += [(f"to {name}", files) for name, files in places["nodes"].items()]
    lines = [f"{who + ':':<20}{', '.join(files)}" for who, files in rows if files]
    if places["register"]:
        lines.append("then register each node's public key, once:")
        lines += [
            f"  flwr supernode register {file} <connection>"
            for file in places["register"]
        ]
    return lines
