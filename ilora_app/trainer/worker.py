"""One of the processes that train a round: ``torch.distributed.run`` starts it."""

import importlib
import os
import sys
import threading
import time
from pathlib import Path

import torch
from flwr.app import Context

from ilora_app.trainer import carried
from ilora_app.trainer.processes import ANSWER, ORDER

_LOOK_SECONDS = 1.0


def main(folder: Path) -> None:
    """Run the function that the order names; process 0 writes what it returns."""
    records, facts = carried.read(folder / ORDER)
    run, node, client = facts["node"]
    threading.Thread(target=_watch, args=(client, os.getppid()), daemon=True).start()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:  # accelerate asks for it to be said; else each process would train alone
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    module, name = facts["training"]
    training = getattr(importlib.import_module(module), name)
    state = records["state"]
    configs = facts["node_config"], state, facts["run_config"]
    context = Context(run, node, *configs)
    content = training(records["content"], context)
    if os.environ["RANK"] == "0":
        answer = {"content": content, "state": context.state}
        carried.write(folder / ANSWER, answer, {})
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # nobody leaves while others wait for it
        torch.distributed.destroy_process_group()


def _watch(client: int, launcher: int) -> None:
    """End where nobody is left who waits for the answer."""
    while os.getppid() == launcher and lives(client):
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def lives(process: int) -> bool:
    """Whether a process is there; one that has ended and is not read yet counts."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
