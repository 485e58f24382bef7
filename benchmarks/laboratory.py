"""Runs whole federations in this process, as cheaply as can be, for comparisons.

Eight clients of ranks 2, 4, 8 and 16 twice train the upper third of a small pretrained
model. What the layers below compute of an example is kept between runs of one process
(``activation-cache``), and clients train as one batch. All computes in float32, so that
a GPU and a CPU differ by rounding alone.
"""

import base64
import os
import tempfile
import time
from pathlib import Path
from typing import Any

Config = dict[str, Any]

CLIENTS = 8
COMMON: Config = {
    "client-ranks": "2,4,8,16",
    "base-dropout": False,
    "clients-per-batch": CLIENTS,
    "eval-batch-size": 512,
    "test-examples": 0,
    "save-adapters": False,
    "report": False,
    "keep-checkpoints": 0,
}
_MINILM: Config = {"max-length": 32, "layers-to-transform": "-2,-1"}
_VIT: Config = {
    "task": "image-classification",
    "model": "{data}/../models/vit-tiny-patch16-224-tinyimagenet",
    "image-size": 96,
    "augment": False,
    "label-column": "label",
    "layers-to-transform": "-4,-3,-2,-1",
}
_LLAMA: Config = {  # no head: what is learned is in the factors
    "task": "causal-lm",
    "model": "{data}/../models/stories260k-llama",
    "max-length": 128,
    "partitioner": "iid",
    "layers-to-transform": "all",
    "head": "trained",
    "head-refit-every": None,
}
# At most 5,000 rows to train on, and the whole test split, of each.
TASKS: dict[str, Config] = {
    "clinc150": {
        "dataset": "{data}/clinc150",
        "label-column": "intent",
        **_MINILM,
        "max-length": 24,
    },
    "banking77": {"dataset": "{data}/banking77", **_MINILM},
    "ag-news": {"dataset": "{data}/ag_news", **_MINILM},
    "sst2": {"dataset": "{data}/sst2", **_MINILM},
    "qnli": {"dataset": "{data}/qnli", **_MINILM, "max-length": 64},
    "rte": {"dataset": "{data}/rte", **_MINILM, "max-length": 96},
    "cifar10": {"dataset": "{data}/cifar10", **_VIT},
    "cifar100": {"dataset": "{data}/cifar100", **_VIT},
    "e2e": {
        "dataset": "{data}/e2e_nlg",
        "text-columns": "mr",
        "answer-column": "ref",
        **_LLAMA,
    },
    # Its nine clients are those of the data set, skewed by category.
    "dolly": {
        "dataset": "{data}/dolly",
        "text-columns": "instruction,context",
        "answer-column": "response",
        **_LLAMA,
        "partitioner": "natural-id",
        "partition-by": "client",
        "clients-per-batch": 9,
    },
}
_MOST = 5_000


def task(name: str, data: Path, cache: Path) -> Config:
    """The settings of a task, with its data set cut to at most 5,000 rows.

    Args:
        name: of the task.
        data: folder with the data sets.
        cache: folder for those that are cut.

    """
    chosen = {
        k: v.format(data=data) if isinstance(v, str) else v
        for k, v in TASKS[name].items()
    }
    return chosen | {"dataset": str(_cut(Path(chosen["dataset"]), cache / name))}


def _cut(source: Path, folder: Path) -> Path:
    if not folder.exists():
        import datasets

        rows = datasets.load_dataset(str(source))
        train = rows["train"].shuffle(seed=0)
        folder.mkdir(parents=True)
        rows["test"].to_parquet(folder / "test.parquet")
        train.select(range(min(_MOST, len(train)))).to_parquet(folder / "train.parquet")
    return folder


def run(
    config: Config,
    clients: int | None = None,
    place: Path | None = None,
    make_grid: Any = None,
    measure: Any = None,
) -> Config:
    """Run one job in this process on one thread, and return what it came to.

    Args:
        config: run config, over the defaults.
        clients: how many; None: eight, or as many as are trained as one batch.
        place: folder in which that of the run stays; None: it does not.
        make_grid: a LocalGrid; None: whose nodes are honest.
        measure: is asked for a number of the server after the run.

    Returns:
        Rows of the rounds, which test rows the final model tells, and seconds.

    """
    import torch

    torch.set_num_threads(1)
    from flwr.app import Context, RecordDict

    from benchmarks.rows import hardware
    from ilora_app import client_app
    from ilora_app.launch.local_grid import LocalGrid
    from ilora_app.node.answers import train_together
    from ilora_app.server import enrolment, preflight
    from ilora_app.server.run import Server
    from ilora_app.settings import Settings, parsing

    clock = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        where = str(place or folder) + "/run"
        values = parsing.dump(Settings()) | config | {"output-dir": where}
        at_least = max(CLIENTS, int(values["clients-per-batch"]))
        how = client_app.app, values, clients or at_least
        grid = (make_grid or LocalGrid)(*how, train_together=train_together)
        prepared = preflight.prepare(Context(1, 0, {}, RecordDict(), values).run_config)
        server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
        rows = server.run()
    return {
        "rows": [_short(row) for row in rows],
        "right": _right(server),
        "seconds": round(time.perf_counter() - clock, 1),
        "hardware": hardware(),
        **({"measured": measure(server)} if measure else {}),
    }


_KEPT = (
    "round",
    "accuracy",
    "loss",
    "perplexity",
    "held_out",
    "bytes_up",
    "bytes_down",
)
_OF_CLIENTS = ("client_accuracy", "client_loss")


def _short(row: Any) -> Config:
    """The columns of a round that tables are made of."""
    return {
        key: round(value, 5) if isinstance(value, float) else value
        for key, value in row.items()
        if key.startswith((*_KEPT, *_OF_CLIENTS)) and value != ""
    }


def _right(server: Any) -> dict[str, str]:
    """Which test rows the final model tells, at the largest and the smallest rank."""
    if server.strategy.method.personal:  # its clients end with models of their own
        return {}
    hits, smallest = server.evaluation.hits, min(server.membership.ranks)
    named = {"global": None, "smallest": smallest}
    return {name: pack(hits[rank]) for name, rank in named.items() if rank in hits}


def pack(hits: list[bool]) -> str:
    """Write booleans as their number and base64 of their bits."""
    bits = "".join("1" if hit else "0" for hit in hits)
    whole = int(bits, 2).to_bytes(-(-len(hits) // 8), "big")
    return f"{len(hits)}:{base64.b64encode(whole).decode()}"


def unpack(text: str) -> list[bool]:
    """Read what :func:`pack` wrote."""
    count, _, encoded = text.partition(":")
    whole = int.from_bytes(base64.b64decode(encoded), "big")
    return [digit == "1" for digit in f"{whole:0{count}b}"]


def be_polite() -> None:
    """Give way to everything else on the machine."""
    os.nice(max(0, 15 - os.nice(0)))
