"""The report of a run in the browser, written anew while the run goes on.

For who sits at this machine alone: it listens on 127.0.0.1, answers GET of two paths,
and refuses requests that name another host: other sites could have a browser make them.
"""

import json
import sys
import threading
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ilora_app.report import look, page
from ilora_app.report.reading import ReportError
from ilora_app.runs import history
from ilora_app.runs.places import METRICS

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
_SECONDS = 3
# Nothing is loaded from anywhere, and no other page may frame this one.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; frame-ancestors 'none'"
)
_REFRESH = """<script>
const shownState = %s, wait = %d;
const look = async () => {
  try {
    const now = await (await fetch("/state")).text();
    if (now !== shownState) location.reload();
  } catch {
    document.title = "not served any more";
  }
  setTimeout(look, wait);  // not before the answer: looks would pile up
};
setTimeout(look, wait);
</script>
"""


class LiveReport(ThreadingHTTPServer):
    """Serves the report of one run until it is shut down.

    Args:
        folder: of the run.
        port: of this machine; 0 for a free one.

    Raises:
        OSError: the port is taken.

    """

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__((HOST, port), _Handler)
        self.folder = folder
        self._lock = threading.Lock()
        self._made: tuple[str, str] = ("", "")

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def state(self) -> str:
        """What changes with the run: its status, and its rounds.

        Of a run that is removed the status is ``gone``.
        """
        if not history.is_run(self.folder):
            return json.dumps(["gone"])
        try:
            found = (self.folder / METRICS).stat()
            rounds = [found.st_mtime_ns, found.st_size]
        except OSError:
            rounds = []
        status = history.read(self.folder, self.folder.parent).status
        return json.dumps([status, *rounds])

    def page(self) -> str:
        """The report as it stands, made once for each state."""
        with self._lock:
            state = self.state()
            if self._made[0] != state:
                try:
                    text = page.text(self.folder)
                except ReportError as error:
                    gone = f"{self.folder} is not there any more"
                    why = str(error) if self.folder.is_dir() else gone
                    body = f"<p>{escape(why)}</p><p>It is looked at again.</p>"
                    text = look.page("Live: nothing to show yet", body)
                script = _REFRESH % (json.dumps(state), 1000 * _SECONDS)
                self._made = state, text.replace("</body>", f"{script}</body>")
            return self._made[1]


class _Handler(BaseHTTPRequestHandler):
    """Answers for a :class:`LiveReport`."""

    server: LiveReport

    def do_GET(self) -> None:
        """Answer with the page, or with its state."""
        if self.headers.get("Host", "").partition(":")[0] not in _NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, "this is for this machine alone")
        elif self.path == "/":
            self._answer("text/html", self.server.page())
        elif self.path == "/state":
            self._answer("application/json", self.server.state())
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is the user's."""
