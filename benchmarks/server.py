"""Many SuperNodes on one SuperLink: messages a second, memory, and what ends it.

    python -m benchmarks.server [--nodes 200] [--rounds 1] [--json DIR]

A real SuperLink with its database on disk, and a real ServerApp that exchanges messages
as this project does. The nodes are threads of one process, each with an identity, a
key, heartbeats and connections of Flower's own SuperNode, which ask for a message every
3 seconds as that does; they pull every object of a message and answer at once with
numbers of their own, so nothing is trained. No TLS, which a proxy may end.

Seconds of the processor are those of the SuperLink's one process: their sum cannot be
spent faster than a second a second, whatever the machine has.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.fleet.fleet_app import CASES, cpu
from benchmarks.fleet.nodes import Nodes
from benchmarks.rows import Row, report
from ilora_app.launch.superlink import BIN, CONNECTION, SuperLink, SuperLinkError
from ilora_app.runs.processes import stop

APP = Path(__file__).parent / "fleet"
_PATIENCE = 1200.0


@contextmanager
def superlink(
    home: Path, port: int, on_disk: bool
) -> Iterator[tuple[SuperLink, psutil.Process]]:
    """Start a SuperLink for SuperNodes, and stop it at the end."""
    text = f'[superlink.{CONNECTION}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    (home / "config.toml").write_text(text, encoding="utf-8")
    more = {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(APP.parent.parent),
    }
    environment = {**os.environ, **more}
    words = [str(BIN / "flower-superlink"), "--insecure", "--port", str(port)]
    words += ["--database", str(home / "state.db")] if on_disk else []
    with (home / "superlink.log").open("wb") as log:
        process = subprocess.Popen(
            words, env=environment, cwd=home, stdout=log, stderr=log
        )
    try:
        link = psutil.Process(process.pid)
        _wait(lambda: any(c.laddr.port == port for c in link.net_connections()))
        yield SuperLink(home, environment), link
    finally:
        stop(process)  # and the ServerApp, which is below it


def _wait(condition: Any, timeout: float = 120.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not there after {timeout:g} s")
        time.sleep(0.5)


def _watch(process: psutil.Process, seconds: float) -> float:
    """Part of a core that a process takes for a while."""
    spent, clock = cpu(process), time.monotonic()
    time.sleep(seconds)
    return (cpu(process) - spent) / (time.monotonic() - clock)


def measure(
    number: int,
    cases: str,
    rounds: int,
    port: int,
    on_disk: bool,
    watched: float,
    pace: float,
) -> dict[str, Any]:
    """Costs of so many nodes: to register them, idle, and in rounds of each case."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        out = home / "rows.jsonl"
        with superlink(home, port, on_disk) as (link, process):
            alone, bare = _watch(process, watched), process.memory_info().rss
            clock, spent = time.monotonic(), cpu(process)
            nodes = Nodes(f"127.0.0.1:{port}", number)
            nodes.start(every=pace)
            _wait(lambda: nodes.connected == number, 600)
            joined = time.monotonic() - clock, cpu(process) - spent
            polls, clock = nodes.polls, time.monotonic()
            busy = _watch(process, watched)
            idle = {
                "busy": busy,
                "polls_a_second": (nodes.polls - polls) / (time.monotonic() - clock),
                "mb": process.memory_info().rss / 1e6,
            }
            config = {
                "nodes": number,
                "cases": cases,
                "rounds": rounds,
                "superlink-pid": process.pid,
                "out": str(out),
            }
            pairs = " ".join(f"{k}={json.dumps(v)}" for k, v in config.items())
            with suppress(subprocess.TimeoutExpired):
                link.run(APP, pairs, "", home / "run.log", timeout=_PATIENCE)
            status = _status(link)
            lines = out.read_text().splitlines() if out.exists() else []
            size = sum(file.stat().st_size for file in home.glob("state.db*"))
            nodes.stop()
            said = (home / "superlink.log").read_text(errors="replace")
    return {
        "nodes": number,
        "bare_mb": bare / 1e6,
        "alone": alone,
        "join_seconds": joined[0],
        "join_cpu": joined[1],
        "idle": idle,
        "rounds": [json.loads(line) for line in lines],
        "failures": nodes.failures,
        "status": status,
        "on_disk": on_disk,
        "locked": said.count("OperationalError) database is locked"),
        "database_mb": size / 1e6,
    }


def _status(link: SuperLink) -> str:
    """How the SuperLink says that the run came out."""
    try:
        return next(iter(link.statuses().values()), "not started")
    except SuperLinkError as error:
        return str(error)


def rows_of(found: dict[str, Any]) -> list[Row]:
    """Rows of one number of nodes."""
    n, idle = found["nodes"], found["idle"]
    polls = idle["polls_a_second"]
    poll = (idle["busy"] - found["alone"]) / polls if polls else float("nan")
    memory = (idle["mb"] - found["bare_mb"]) / n
    many = f"{n} nodes" if found["on_disk"] else f"{n} nodes, no database"
    rows = [
        Row(f"{many}: to join", f"{found['join_seconds']:.1f} s",
            f"{1e3 * found['join_cpu'] / n:.1f} ms of the SuperLink's processor each"),
        Row(f"{many}: idle", f"{idle['busy']:.2f} of a core",
            f"{idle['polls_a_second']:.1f} polls a second, {1e3 * poll:.1f} ms each; "
            f"{found['alone']:.2f} of a core without nodes"),
        Row(f"{many}: the SuperLink's memory", f"{idle['mb']:.0f} MB",
            f"{found['bare_mb']:.0f} MB without nodes; {1e3 * memory:.0f} KB each"),
    ]  # fmt: skip
    for one in found["rounds"]:
        arrays, numbers = CASES[one["case"]]
        packed = " in a packet" if one["case"] == "packet" else ""
        what = f"{many}, {arrays} arrays of {4 * numbers / 1e3:.1f} KB{packed}: a round"
        each = 1e3 * one["superlink_cpu"] / n
        value = f"{one['seconds']:.1f} s, {one['replies']} replies"
        against = (
            f"{n / one['seconds']:.1f} replies a second; processor of the SuperLink "
            f"{one['superlink_cpu']:.1f} s ({each:.0f} ms a node), of the ServerApp "
            f"{one['serverapp_cpu']:.1f} s; memory {one['superlink_mb']:.0f} and "
            f"{one['serverapp_mb']:.0f} MB"
        )
        rows.append(Row(what, value, against))
    if found["on_disk"]:
        size = f"{found['database_mb']:.1f} MB"
        rows.append(Row(f"{many}: the database at the end", size))
    locked = f"'database is locked' {found['locked']} times in its log"
    wrong = found["failures"][:1] or [""]
    rows.append(
        Row(
            f"{many}: the run",
            found["status"],
            f"{locked}; nodes: {len(found['failures'])} failures {wrong[0]}",
        )
    )
    return rows


def main() -> None:
    """Print rows for each number of nodes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default="200", help="numbers, with commas")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--port", type=int, default=39441)
    parser.add_argument("--no-database", action="store_true")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds to watch it")
    parser.add_argument("--pace", type=float, default=0.3, help="seconds between joins")
    parser.add_argument("--name", default="server", help="of the file of JSON")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = [Row("load of the machine before", f"{os.getloadavg()[1]:.1f}")]
    on_disk, times = not given.no_database, (given.idle, given.pace)
    what = given.cases, given.rounds, given.port, on_disk, *times
    for number in map(int, given.nodes.split(",")):
        rows += rows_of(measure(number, *what))
    rows.append(Row("load of the machine after", f"{os.getloadavg()[1]:.1f}"))
    report(given.name, rows, given.json)


if __name__ == "__main__":
    main()
