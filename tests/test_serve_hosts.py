"""By which host names a served model may be asked."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ilora_app.serve.hosts import HostCheck

NAMES = ("127.0.0.1", "localhost", "::1")


def asked(names, *hosts: str) -> int:
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("inside"))])
    to = TestClient(HostCheck(app, names), base_url="http://x")
    reply = to.get("/", headers=[("Host", host) for host in hosts])
    assert (reply.text == "inside") is (reply.status_code == 200)
    return reply.status_code


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8765", "localhost:1", "LOCALHOST", "[::1]", "[::1]:8765",
     "[0:0:0:0:0:0:0:1]:8765"],
)  # fmt: skip
def test_names_of_the_address_are_answered(host):
    assert asked(NAMES, host) == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example.org", "evil.example.org:8765", "127.0.0.1.example.org",
     "localhost.example.org", "[::2]:8765", "::1", "[::1", "[::1]x", "[::1]:80:80",
     "[evil.example.org]", "localhost@evil.example.org", "localhost:80@evil", "[",
     ":80", "[localhost]", "127.0.0.1:80/x", "127.0.0.1,evil.example.org"],
)  # fmt: skip
def test_all_others_are_refused(host):
    assert asked(NAMES, host) == 400


def test_an_address_written_at_length_is_the_same():
    assert asked(("0:0:0:0:0:0:0:1",), "[::1]:8765") == 200


def test_without_a_name_and_with_two_it_is_refused():
    async def codes(*hosts: bytes) -> list[int]:
        found = []

        async def send(message) -> None:
            found.append(message.get("status"))

        async def never(*_) -> None:
            raise AssertionError("it was let in")

        scope = {"type": "http", "headers": [(b"host", host) for host in hosts]}
        await HostCheck(never, NAMES)(scope, never, send)
        return found

    assert asyncio.run(codes())[0] == 400
    assert asyncio.run(codes(b"localhost", b"evil.example.org"))[0] == 400
