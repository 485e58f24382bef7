"""The HTTP application: a page, ``POST /predict`` and ``GET /health``."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ilora_app.export.places import ReleaseError
from ilora_app.predict.as_json import answer
from ilora_app.predict.predictor import Predictor
from ilora_app.serve import page
from ilora_app.serve.asked import Asked, AskedError, Limits, read
from ilora_app.serve.hosts import HostCheck
from ilora_app.settings.kinds import kind
from ilora_app.tasks.places import DataError

_WAITING = 16
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def make(
    predictor: Predictor, name: str, limits: Limits, hosts: tuple[str, ...] = ()
) -> FastAPI:
    """Make the application.

    Args:
        predictor: has the model.
        name: of the model, for people.
        limits: of one request.
        hosts: names by which it may be asked; none: by any. On the loopback the name
            keeps out pages of others that a browser has resolved to this machine.

    """
    # No schema: its pages load scripts from elsewhere.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    if hosts:
        app.add_middleware(HostCheck, names=hosts)
    facts = predictor.facts
    about = {
        "status": "ok",
        "model": name,
        "task": facts.task,
        "columns": list(predictor.columns),
        "classes": len(facts.labels),
        "file": kind(facts.task).file,
        "limits": {
            "inputs": limits.inputs,
            "characters": limits.characters,
            "megabytes": limits.megabytes,
            "max_new_tokens": limits.new_tokens,
        },
    }
    html = page.html(about)
    queue = _Queue(predictor)

    @app.get("/", response_class=HTMLResponse)
    async def shown() -> HTMLResponse:
        kept = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(html, headers=kept)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return about

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if sent != "application/json":
            # A page of another site could send the others without being asked first.
            raise HTTPException(415, "expected the Content-Type application/json")
        body = await _body(request, limits)
        try:
            asked = read(body, facts.task, predictor.columns, limits)
            return JSONResponse({"answers": await queue.answers(asked)})
        except (AskedError, DataError) as error:
            raise HTTPException(422, str(error)) from None
        except ReleaseError as error:
            raise HTTPException(422, predictor.without_path(str(error))) from None

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        said = {"error": str(error.detail)}
        return JSONResponse(said, status_code=error.status_code, headers=error.headers)

    return app


class _Queue:
    """One request at a time to the model, and not too many behind it."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._lock = threading.Lock()
        self._waiting = 0

    async def answers(self, asked: Asked) -> list[dict[str, object]]:
        if self._waiting >= _WAITING:
            raise HTTPException(503, "the model is busy: try again later")
        self._waiting += 1
        try:
            return await self._apart(asked)
        finally:
            self._waiting -= 1

    async def _apart(self, asked: Asked) -> list[dict[str, object]]:
        """In a thread that ends with the process, and is not waited for."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[dict[str, object]]] = loop.create_future()

        def end(found: list[dict[str, object]], error: Exception | None) -> None:
            if future.done():  # nobody waits for it any more
                return
            if error:
                future.set_exception(error)
            else:
                future.set_result(found)

        def work() -> None:
            found, failed = list[dict[str, object]](), None
            try:
                found = self._answers(asked)
            except Exception as error:  # is raised where it is waited for
                failed = error
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(end, found, failed)

        threading.Thread(target=work, daemon=True).start()
        try:
            return await future
        except asyncio.CancelledError:
            raise HTTPException(503, "the server ends") from None

    def _answers(self, asked: Asked) -> list[dict[str, object]]:
        with self._lock:
            found = self._predictor.predict(asked.rows, asked.top, asked.new_tokens)
            made = [answer(one) for one in found]
        if file := kind(self._predictor.facts.task).file:
            column = self._predictor.columns[0]
            for number, (one, row) in enumerate(zip(made, asked.rows, strict=True), 1):
                # The file that was sent need not come back.
                one["input"] = row | {column: f"{file} {number} of {len(made)}"}
        return made


async def _body(request: Request, limits: Limits) -> bytes:
    """Read the body, up to its limit."""
    most, found = int(limits.megabytes * 1e6), bytearray()
    try:
        async for chunk in request.stream():
            found += chunk
            if len(found) > most:
                said = f"the body has more than {limits.megabytes:g} MB"
                raise HTTPException(413, said)
    except ClientDisconnect:  # nobody reads it
        raise HTTPException(400, "the body is not whole") from None
    return bytes(found)
