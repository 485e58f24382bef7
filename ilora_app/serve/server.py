"""Runs the application on a socket, until it is asked to end."""

import signal
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

_GRACE = 5


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
