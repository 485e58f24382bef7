r"""What aggregation costs the server, beside reading the replies once from memory.

    python -m benchmarks.aggregation [--quick] [--rows layer,clients,llama] \
        [--modules 24] [--json FILE] [--plot FILE]

Seconds are those of the processor, of one thread: what else runs on the machine takes
none of them, though it takes memory bandwidth. Clients share a pool of 256 distinct
sets of factors (300 MB), so that 10,000 clients fit into memory; they are read and
added up 10,000 times. A round is what follows the decoding of replies: ILoRA's next
model with the energy kept, and the measures of training, of which drift costs most.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import scipy.linalg
import torch

from benchmarks.processor import peak, seconds
from benchmarks.rows import Row, report
from ilora_app.federation.metrics import of_training
from ilora_app.federation.outliers import hold
from ilora_app.lora.decomposition import (
    qr_in_two_passes,
    truncate_mean,
    truncate_product,
)
from ilora_app.lora.factors import AdapterState, LoraFactors, Pair
from ilora_app.lora.products import ProductSum
from ilora_app.methods import METHODS
from ilora_app.methods.state import GlobalState, Share, Update, weights_of

RANKS = (64, 32, 16, 16, 8, 8, 4, 4, 4, 4)
RANK, SCALING, POOL = 8, 2.0, 256
DENSE: dict[str, tuple[str, Callable[[torch.Tensor], Any], float]] = {
    "qr": ("torch.linalg.qr of the dense product", torch.linalg.qr, 300),
    "svd": ("torch.linalg.svd of the dense product", torch.linalg.svd, 200),
    "pivoted-qr": (
        "scipy.linalg.qr(pivoting=True) of the dense product",
        lambda D: scipy.linalg.qr(D.numpy(), pivoting=True),
        100,
    ),
}


@dataclass(frozen=True)
class Point:
    """One round: its clients, seconds, those of reading its replies, and bytes."""

    decomposition: str
    clients: int
    seconds: float
    reading: float
    extra: int


def drawn(modules: int, size: int, rank: int, seed: int, scale: float) -> LoraFactors:
    """Random factors."""
    new, pairs = torch.Generator().manual_seed(seed), {}
    for module in range(modules):
        B = scale * torch.randn(size, rank, generator=new) / size**0.5
        A = scale * torch.randn(rank, size, generator=new) / size**0.5
        pairs[str(module)] = (B, A)
    return LoraFactors(pairs)


def beside(start: LoraFactors, change: LoraFactors) -> AdapterState:
    """Factors after training."""
    pairs = {m: (B + change[m][0], A + change[m][1]) for m, (B, A) in start.items()}
    return AdapterState(LoraFactors(pairs), {})


def round_of(modules: int, size: int, clients: int) -> tuple[GlobalState, list[Update]]:
    """A round later than the first, and its replies."""
    start = drawn(modules, size, RANK, 0, 1.0)
    pool = [
        beside(start, drawn(modules, size, RANK, 1 + k, 0.3))
        for k in range(min(clients, POOL))
    ]
    share = Share(AdapterState(start, {}))
    updates = [
        Update(k, RANK, share, pool[k % POOL], 10.0 + k % 7, 1.0, 1.0)
        for k in range(clients)
    ]
    return GlobalState(share.adapter, step=1), updates


def read(updates: Iterable[Update]) -> None:
    """Read every factor once."""
    for update in updates:
        for B, A in update.adapter.factors.pairs.values():
            B.sum()
            A.sum()


def aggregate(
    decomposition: str, state: GlobalState, updates: list[Update]
) -> tuple[float, float]:
    """Seconds of what the server does with checked updates: its model, and drift."""
    method = METHODS["ilora"](decomposition=decomposition)
    clock = time.process_time()
    made = method.advance(state, updates)
    between = time.process_time()
    of_training(updates, weights_of(updates), made.energy, [RANK], SCALING)
    return between - clock, time.process_time() - between


def layer(size: int, targets: bool) -> list[Row]:
    """One layer of ten clients of unequal ranks."""
    parts = [drawn(1, size, rank, rank + k, 1.0) for k, rank in enumerate(RANKS)]
    weights, pairs = [0.1] * len(parts), [part["0"] for part in parts]
    rank, rows = max(RANKS), list[Row]()
    D = torch.matmul(*ProductSum(pairs, weights).stacked)
    for name, (against, dense, bound) in DENSE.items():
        B, A = _cut(pairs, weights, rank, name)
        ours = seconds(partial(_cut, pairs, weights, rank, name), 9)
        measured = seconds(partial(truncate_mean, parts, weights, rank, name), 9)
        clock = time.process_time()
        found = dense(D)
        theirs = time.process_time() - clock
        what = f"one layer of {size} x {size}, 10 clients, {name}"
        target = f"<= {1 / bound:.6f}" if targets else ""
        rows.append(_row(what, ours, against, theirs, target))
        rows.append(_row(f"{what}, with the energy kept", measured, against, theirs))
        if name == "qr":
            Q = found[0][:, :rank]
            apart = float((B @ A - Q @ (Q.T @ D)).norm() / D.norm())
            against = "QR of the dense product, cut"
            rows.append(Row(f"{what}: product", "", against, apart, "<= 1e-6"))
    return rows


def rounds(
    modules: int, size: int, counts: Iterable[int], target: str
) -> tuple[list[Row], list[Point]]:
    """Rounds of many clients of one rank; svd is the default of the app."""
    rows, points = [], []
    words = f"{modules} modules of {size} x {size}, rank {RANK}"
    against = "reading the factors once"
    for count in counts:
        state, updates = round_of(modules, size, count)
        turns, once = max(1, min(5, 200 // count)), partial(read, updates)
        reading = [seconds(once)]
        # Beyond, svd is qr and the same decompositions of d x d as before.
        for name in ("qr", "svd") if count <= 1000 else ("qr",):
            if count <= 10:
                aggregate(name, state, updates)
            times: list[tuple[float, float]] = []
            call = partial(aggregate, name, state, updates)
            extra = 0
            for _ in range(turns):
                extra = max(extra, peak(lambda t=times, c=call: t.append(c())))
                reading.append(seconds(once))
            theirs = statistics.median(reading)
            model, drift = (statistics.median(t) for t in zip(*times, strict=True))
            points.append(Point(name, count, model + drift, theirs, extra))
            what = f"{words}, {count:,} clients, {name}"
            rows.append(_row(what, model + drift, against, theirs, target))
            rows.append(_row(f"{what}: the model alone", model, against, theirs))
            memory = f"{extra / 2**20:.0f} MB"
            rows.append(Row(f"{what}: memory beside the replies", memory))
            print(*rows[-3:], sep="\n", flush=True)
        if count <= 1000:
            norms = seconds(partial(hold, updates, SCALING, 10.0))
            what = f"{words}, {count:,} clients: norms of the replies"
            rows.append(_row(what, norms, against, theirs))
    return rows, points


def _cut(pairs: list[Pair], weights: list[float], rank: int, method: str) -> Pair:
    layer = ProductSum(pairs, weights)
    if method == "qr":
        return qr_in_two_passes(layer, rank)
    return truncate_product(*layer.stacked, rank, method)


def plot(points: list[Point], file: Path) -> None:
    """Draw time and memory by the number of clients."""
    matplotlib.use("svg")
    from matplotlib import pyplot  # after the backend is chosen

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5))
    for name in dict.fromkeys(point.decomposition for point in points):
        some = [point for point in points if point.decomposition == name]
        counts = [point.clients for point in some]
        left.loglog(counts, [p.seconds for p in some], "o-", label=f"a round, {name}")
        extra = [p.extra / 2**20 for p in some]
        right.semilogx(counts, extra, "o-", label=name)
    some = [point for point in points if point.decomposition == "qr"]
    counts, reading = ([p.clients for p in some], [p.reading for p in some])
    left.loglog(counts, reading, "k--", label="reading the replies once")
    left.set(xlabel="clients", ylabel="seconds of one thread")
    right.set(xlabel="clients", ylabel="MB beside the replies", ylim=(0, None))
    left.legend()
    right.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def _row(what: str, ours: float, against: str, theirs: float, target: str = "") -> Row:
    beside = f"{against} {theirs:.4g} s"
    return Row(what, f"{ours:.4g} s", beside, ours / theirs, target)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, a minute")
    parser.add_argument("--rows", default="layer,clients,llama")
    parser.add_argument("--modules", type=int, default=24)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    quick, asked = chosen.quick, chosen.rows.split(",")
    rows: list[Row] = []
    points: list[Point] = []
    if "clients" in asked:
        counts = (10, 100, 300) if quick else (10, 100, 1_000, 10_000)
        more, points = rounds(
            4 if quick else chosen.modules, 768, counts, "" if quick else "<= 15"
        )
        rows += more
    if "llama" in asked:
        shape = (4, 1024) if quick else (64, 4096)
        rows += rounds(*shape, (10,), "" if quick else "<= 10")[0]
    if "layer" in asked:
        rows += layer(1024 if quick else 4096, not quick)
    file = chosen.json
    report(file.stem if file else "aggregation", rows, file and file.parent)
    if chosen.plot:
        plot(points, chosen.plot)


if __name__ == "__main__":
    main()
