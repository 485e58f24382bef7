"""The address that a model is served at: taken before torch is loaded."""

import ipaddress
import socket


class AddressError(ValueError):
    """An address that cannot be listened on: which, why, and what would be right."""


def listen(host: str, port: int) -> socket.socket:
    """Take an address before the model is loaded.

    Args:
        host: name or address of this machine.
        port: 0: any that is free.

    Raises:
        AddressError: it is taken, or not of this machine.

    """
    try:
        family, _, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(place[:2], family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        raise AddressError(
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
