"""Runs jobs in a process of its own, with no Ray: the local engine's other half."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Task = tuple[dict[str, object], int, str]
"""Run config, number of clients, log file."""


def serve(tasks: Connection) -> None:
    """Run every task that comes, and answer with (why it failed or "", seconds)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            run_config, clients, log = tasks.recv()
        except EOFError:
            return
        clock = time.perf_counter()
        reason = _logged(run_config, clients, Path(log))
        tasks.send((reason, time.perf_counter() - clock))


def execute(run_config: Mapping[str, object], clients: int) -> None:
    """Run the whole app in this process."""
    import torch
    from flwr.app import Context, RecordDict

    from ilora_app import client_app
    from ilora_app.launch.local_grid import LocalGrid
    from ilora_app.node.answers import train_together
    from ilora_app.server import enrolment, preflight
    from ilora_app.server.run import Server

    torch.set_num_threads(1)
    values: Any = dict(run_config)
    grid = LocalGrid(client_app.app, values, clients, train_together=train_together)
    context = Context(1, 0, {}, RecordDict(), values)
    prepared = preflight.prepare(context.run_config)
    membership = enrolment.meet(grid, prepared)
    Server(prepared, membership, grid, run_id=1).run()


def _logged(run_config: dict[str, object], clients: int, log: Path) -> str:
    """Run one task with this process's output in its log."""
    import traceback

    with log.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    try:
        execute(run_config, clients)
    except Exception as error:
        traceback.print_exc()
        return str(error) or type(error).__name__
    return ""


def _end_with_parent() -> None:
    """Leave no process behind, not even where the parent was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
