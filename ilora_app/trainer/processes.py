"""A local round in several processes of one node: one for each of its GPUs.

A Trainer finds its processes by variables that ``torchrun`` or ``accelerate launch``
have set before it is made. A ClientApp is one process, which Flower has started, with
threads, and maybe with CUDA in use: it cannot become one of several, nor be forked. So
the processes of a round are new ones, which torch's elastic launch starts:

    ClientApp --- folder of safetensors ---> process 0, 1, ...: one function in each
    ClientApp <-- folder of safetensors ---- process 0

Each reads what came from the server and what the client keeps; what process 0 returns
is the reply, and its state is the client's from then on.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, RecordDict

from ilora_app.trainer import carried

Training = Callable[[RecordDict, Context], RecordDict]

ORDER, ANSWER = "order", "answer"
_STOP_SECONDS = 35.0
"""torch's launcher gives its processes 30 s to end."""


class ProcessesError(RuntimeError):
    """The processes of a round have brought no reply; the log of the node says why."""


def in_processes(
    training: Training,
    content: RecordDict,
    context: Context,
    processes: int,
    timeout: float | None = None,
) -> RecordDict:
    """Run a local round in so many processes of this machine.

    Args:
        training: of a module that can be imported, by its name: takes the content of a
            message for TRAIN and a context, returns the content of the reply.
        content: of the message.
        context: of the node; its ``state`` becomes that of process 0.
        processes: of which number r computes on GPU r where there are GPUs. 1: this
            process runs it.
        timeout: seconds, loading the model included; None: no limit.

    Raises:
        ValueError: fewer than one process, or a function that no other process finds.
        ProcessesError: one of them has failed, or the time is over.

    """
    if processes < 1:
        raise ValueError(f"processes = {processes}: expected 1 or more")
    if processes == 1:
        return training(content, context)
    root = _root(training)
    with tempfile.TemporaryDirectory(prefix="ilora-round-") as name:
        folder = Path(name)
        records = {"content": content, "state": context.state}
        facts = {
            "training": [training.__module__, training.__name__],
            "node": [context.run_id, context.node_id, os.getpid()],
            "node_config": dict(context.node_config),
            "run_config": dict(context.run_config),
        }
        carried.write(folder / ORDER, records, facts)
        code = _launch(folder, root, processes, timeout)
        if code or not (folder / ANSWER).exists():
            raise ProcessesError(
                f"training in {processes} processes ended with exit code {code} and "
                "no reply; the log of this node says why"
            )
        answer, _ = carried.read(folder / ANSWER)
    context.state.clear()
    context.state.update(answer["state"])
    return answer["content"]


def _launch(folder: Path, root: Path, processes: int, timeout: float | None) -> int:
    """Start the processes, and wait for their end."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    worker = [f"--nproc-per-node={processes}", "-m", "ilora_app.trainer.worker"]
    paths = [str(root), *(path for path in sys.path if path)]
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    given.setdefault("OMP_NUM_THREADS", "1")  # as the launcher does, with a warning
    with subprocess.Popen([*launcher, *worker, str(folder)], env=given) as started:
        try:
            return started.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessesError(
                f"training in {processes} processes took longer than {timeout:g} s"
            ) from None
        finally:
            if started.poll() is None:
                started.terminate()  # it ends the processes, and then itself
                try:
                    started.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    started.kill()  # the processes see that it is gone


def _root(training: Training) -> Path:
    """Folder from which other processes import the module of a function.

    Raises:
        ValueError: they cannot.

    """
    module = sys.modules.get(training.__module__)
    file = getattr(module, "__file__", None)
    top = getattr(module, training.__name__, None)
    if training.__module__ == "__main__" or file is None or top is not training:
        raise ValueError(
            f"{training.__module__}.{training.__qualname__}: expected a function at "
            "the top of a module, which other processes can import by its name"
        )
    found: Path = Path(file).resolve().parents[training.__module__.count(".")]
    return found
