"""Rounds of messages to all nodes, as this project exchanges them, with their costs."""

import json
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from ilora_app import wire
from ilora_app.federation.exchange import exchange

app = ServerApp()
client = ClientApp()

# Arrays, and numbers in each: rank 8 on 24 layers of 768 x 768 is 48 of them. Flower
# has an object for each; "packet" sends them as one, as this project does.
CASES = {"few": (1, 100), "factors": (48, 8 * 768), "packet": (48, 8 * 768)}


def content(case: str, seed: int) -> RecordDict:
    """Numbers that no other node and no other round has: equal objects travel once."""
    arrays, numbers = CASES[case]
    draw = np.random.default_rng(seed)
    found = {
        f"layer.{i}": draw.standard_normal(numbers, dtype=np.float32)
        for i in range(arrays)
    }
    if case == "packet":
        tensors = {name: torch.from_numpy(value) for name, value in found.items()}
        return RecordDict({"arrays": wire.encode_tensors(tensors)})
    record = ArrayRecord({name: Array(value) for name, value in found.items()})
    return RecordDict({"arrays": record})


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Wait for the nodes, run the rounds of each case, and write a line for each."""
    given = context.run_config
    link = psutil.Process(int(given["superlink-pid"]))
    while len(nodes := sorted(grid.get_node_ids())) < int(given["nodes"]):
        time.sleep(1)
    for case in str(given["cases"]).split(","):
        for number in range(int(given["rounds"])):
            _round(grid, nodes, case, number, link, Path(str(given["out"])))


def _round(
    grid: Grid,
    nodes: list[int],
    case: str,
    number: int,
    link: psutil.Process,
    out: Path,
) -> None:
    sent = content(case, number)
    # What is sent is the same for all of them, as a round's model is.
    messages = [Message(sent, n, MessageType.TRAIN, group_id=case) for n in nodes]
    own, before, clock = psutil.Process(), cpu(link), time.perf_counter()
    mine, first = cpu(own), [0.0]

    def came(_: object) -> None:
        first[0] = first[0] or time.perf_counter() - clock

    replies = exchange(grid, messages, 400, came)
    row = {
        "case": case,
        "nodes": len(nodes),
        "seconds": time.perf_counter() - clock,
        "first": first[0],
        "replies": sum(reply.has_content() for reply in replies),
        "superlink_cpu": cpu(link) - before,
        "serverapp_cpu": cpu(own) - mine,
        "superlink_mb": link.memory_info().rss / 1e6,
        "serverapp_mb": own.memory_info().rss / 1e6,
    }
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")


def cpu(process: psutil.Process) -> float:
    """Seconds of the processor that a process has had."""
    times = process.cpu_times()
    return float(times.user + times.system)
