"""Runs the application on a socket, until it is asked to end."""

import ipaddress
import signal
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

from ilora_app.export.source import ReleaseError

_GRACE = 5


def listen(host: str, port: int) -> socket.socket:
    """Take an address before the model is loaded.

    Args:
        host: name or address of this machine.
        port: 0: any that is free.

    Raises:
        ReleaseError: it is taken, or not of this machine.

    """
    try:
        family, _, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(place[:2], family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        raise ReleaseError(
            f"--host {host} --port {port}: it cannot be listened on ({error}): "
            "expected an address of this machine and a free port"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url(host: str, taken: socket.socket) -> str:
    """Address for a browser on this machine."""
    port = taken.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def run(app: FastAPI, taken: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that are being answered have 5 s."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        log_level="warning",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE,
        server_header=False,
    )
    server = uvicorn.Server(config)

    def end(*_: Any) -> None:
        # uvicorn takes the signals over while it runs, and raises them again after.
        server.should_exit = True

    wanted = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, end) for number in wanted}
    try:
        server.run(sockets=[taken])
    finally:
        taken.close()
        for number, handler in before.items():
            signal.signal(number, handler)
