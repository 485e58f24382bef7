"""What secure aggregation costs a deployment: seconds of the processor, by process.

    python -m benchmarks.secure_deployed [--nodes 3] [--rounds 3] [--json DIR]

A SuperLink and SuperNodes of ``ilora supernode`` with registered keys, a database and
TLS on this machine, as the tests start them; the demo's model and data, ranks 4, 8 and
16, two local steps of eight texts a round. The same run is made without and with secure
aggregation. Seconds of user and system of a process and all it has started, from when
all nodes are online to the end of the run, with what starts and stops it.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pandas
import psutil

from benchmarks.rows import Row, report
from tests.deployment import Deployment, deployment

RANKS = (4, 8, 16)
CONFIG: dict[str, Any] = {
    "local-steps": 2,
    "batch-size": 8,
    "max-length": 16,
    "test-examples": 50,
    "head": "trained",
    "drift-correction": "none",
    "strategy": "ilora",
    "decomposition": "qr",
    "fraction-evaluate": 0.0,
    "report": False,
}


def spent(pid: int) -> float:
    """Seconds of a process, of those it has started, and of those that have ended."""
    process = psutil.Process(pid)
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
        total += times.children_user + times.children_system
    return total


def measure(nodes: int, rounds: int, secure: bool, folder: Path) -> dict[str, float]:
    """Seconds of the server's processes and of a node, and the messages, of one run."""
    config = CONFIG | {"num-server-rounds": rounds, "min-available-nodes": nodes}
    config |= {"secure-aggregation": secure}
    with deployment(folder, nodes=nodes + 1) as real:
        own = [_own(real, i, nodes, secure) for i in range(1, nodes + 1)]
        started = [real.start_node(i, own[i - 1]) for i in range(1, nodes + 1)]
        real.wait_online(nodes, 180)
        pids = [one.process.pid for one in started]
        before = {one.process.pid: spent(one.process.pid) for one in real.started}
        job = real.run(config)
        if (status := job.wait()) != "finished:completed":
            raise RuntimeError(f"{status}\n{job.context()}")
        gained = {pid: spent(pid) - before[pid] for pid in before}
        table = pandas.read_csv(job.folder / "metrics.csv")
    messages = table.get("messages_secure", pandas.Series([0.0])).sum()
    return {
        "node": sum(gained[pid] for pid in pids) / nodes / rounds,
        "server": sum(gained[pid] for pid in gained if pid not in pids) / rounds,
        "messages": 1 + messages / nodes / rounds,
    }


def _own(real: Deployment, number: int, nodes: int, secure: bool) -> dict[str, Any]:
    """Node config: its part of the data and its rank, its key and the roster."""
    own: dict[str, Any] = {"partition-id": number - 1, "num-partitions": nodes}
    own["lora-rank"] = RANKS[(number - 1) % len(RANKS)]
    if not secure:
        return own
    roster = real.folder / "roster"
    public = [(real.keys / f"node-{i}.pub").read_text() for i in range(1, nodes + 1)]
    roster.write_text("".join(public))
    key = {"secure-key": str(real.keys / f"node-{number}")}
    return own | key | {"secure-roster": str(roster), "secure-aggregation": True}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = {}
    for secure in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            of = given.nodes, given.rounds, secure
            found[secure] = measure(*of, Path(folder))
    rows = []
    for what, unit in (("node", "s"), ("server", "s"), ("messages", "")):
        plain, secure = found[False][what], found[True][what]
        name = {
            "node": "processor, a node and round",
            "server": "processor, the server's processes, a round",
            "messages": "messages, a node and round",
        }[what]
        words = f"{secure:.3g} {unit}".strip(), f"{plain:.3g} {unit}".strip()
        rows.append(Row(name, *words, secure / plain))
    report("secure_deployed", rows, given.json)


if __name__ == "__main__":
    main()
