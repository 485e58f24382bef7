"""Refuses requests that ask by another host name than those of the address served."""

import ipaddress
import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# Colons within brackets are of an address; Starlette's own check stops at the first.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]+))(?::[0-9]*)?")


class HostCheck:
    """Middleware that keeps out pages which a browser has resolved to this machine.

    Args:
        app: answers the others.
        names: host names and addresses, without brackets or port.

    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, {_same(name) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] in ("http", "websocket"):
            given = Headers(scope=scope).getlist("host")
            if len(given) != 1 or name_of(given[0]) not in self._names:
                names = ", ".join(sorted(self._names))
                said = {"error": f"the Host header: expected one of {names}"}
                await JSONResponse(said, status_code=400)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def name_of(host: str) -> str:
    """Name or address in a Host header, without brackets and port; empty for none."""
    found = _HOST.fullmatch(host.strip())
    return _same(found[1] or found[2]) if found else ""


def _same(name: str) -> str:
    """One way to write a name: an address may be written in several."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()
