"""What listens on this machine, and what can be reached from it."""

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from ilora_app.doctor.finding import OK, WARNING, Finding
from ilora_app.runs import processes

PORT = 39091
"""Where Flower's own ``flwr run`` starts a SuperLink that goes on afterwards."""

_TIMEOUT = 4.0
_YES = ("1", "true", "yes", "on")


def local_superlink() -> Iterator[Finding]:
    """A SuperLink that an earlier ``flwr run`` has left."""
    name, port = "local SuperLink", _port()
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            yield Finding(name, OK, f"nothing listens on 127.0.0.1:{port}")
            return
    pids = [
        pid
        for pid in processes.running()
        if "flower-superlink" in (line := processes.command(pid)) and str(port) in line
    ]
    end = f"kill {' '.join(map(str, pids))}" if pids else "end the process on that port"
    yield Finding(
        name,
        WARNING,
        f"something listens on 127.0.0.1:{port}: `flwr run` uses it with the "
        "environment it was started with, however old",
        f"{end}, or use `ilora run`, which starts its own",
    )


def hub() -> Iterator[Finding]:
    """Where models and data sets are downloaded from."""
    name = "model hub"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES:
        yield Finding(name, OK, "not asked: HF_HUB_OFFLINE is set")
        return
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    # The host alone: an address can hold a password.
    host = urlsplit(address).hostname or "an address that cannot be read"
    if urlsplit(address).scheme not in ("http", "https"):
        advice = "set HF_ENDPOINT to an https address, or unset it"
        yield Finding(name, WARNING, f"HF_ENDPOINT names {host}", advice)
        return
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT):
            pass
    except urllib.error.HTTPError as error:
        # It answers, whatever it thinks of this request.
        yield Finding(name, OK, f"{host} answers ({error.code})")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or type(error).__name__
        advice = (
            "models and data from folders: ilora run --model /a/folder --dataset "
            "/a/folder; HF_HUB_OFFLINE=1 saves the waiting"
        )
        yield Finding(name, WARNING, f"{host} cannot be reached: {why}", advice)
    else:
        yield Finding(name, OK, f"{host} answers")


def _port() -> int:
    value = os.environ.get("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "")
    return int(value) if value.isdecimal() and int(value) < 65536 else PORT
