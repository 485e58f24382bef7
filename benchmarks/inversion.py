"""What can be read of a node's data from what others hold: plain, secure, private.

    python -m benchmarks.inversion [--json DIR] [--parts shares,private,batch]
        [--model MODEL] [--seed 0]

Two attacks (``benchmarks.revealing``) on the messages of real runs of one round in this
process:

- **class shares** of a node, of eight with CLINC150's ten domains under Dirichlet 0.3,
  by the bias of the trained head;
- **tokens and labels** of a node that has two texts, of four, by its control variate
  after one step.

Who attacks: the operator, with a node's reply; with its masked vector under secure
aggregation; with the sum that is opened there. Under ``dp = "client"`` the operator
sees replies as in the clear. There the attacker gets the models alone and knows
everything of all other nodes: he runs the round without the node and without noise
himself.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import revealing
from benchmarks.rows import Row, report
from benchmarks.watched import BIAS, COMMON, SECURE, Config, masked, run, truth
from ilora_app import wire
from ilora_app.privacy.budget import spent
from ilora_app.privacy.noise import gaussian
from ilora_app.server.run import Server
from ilora_app.tasks import sources

NODES, FEW = 8, 4
DELTA = 0.01
CLIP, NOISES, DRAWS = 0.5, (0.001, 0.01, 0.1, 0.5, 1.0), 500


def shares(
    config: Config, nodes: int = NODES
) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """(what the operator reads, the truth) of every node, by what he holds."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def add(view: str, rise: Tensor, true: Tensor) -> None:
        found.setdefault(view, []).append((revealing.class_shares(rise), true))

    for view, more in (
        ("update, SGD", {}),
        ("update, AdamW", {"optimizer": "adamw", "learning-rate": 0.003}),
        ("control variate", {"drift-correction": "control-variates"}),
    ):
        grid, server = run(config | more, nodes)
        for node, content in grid.came.items():
            after = wire.decode_tensors(content[wire.ARRAYS])[BIAS]
            rise = after - wire.decode_tensors(grid.sent[node][wire.ARRAYS])[BIAS]
            if "drift-correction" in more:
                rise = -wire.decode_tensors(content[wire.CORRECTION])[BIAS]
            add(view, rise, truth(server, node, nodes))
    grid, server = run(config | SECURE, nodes)
    before = wire.decode_tensors(next(iter(grid.sent.values()))[wire.ARRAYS])[BIAS]
    total = server.strategy.global_model().head[BIAS.removeprefix("head.")] - before
    for node, content in grid.came.items():
        true = truth(server, node, nodes)
        add("secure: masked vector", masked(server, content, nodes)[f"up/{BIAS}"], true)
        add("secure: opened sum", total, true)
    return found


def released(
    config: Config, noises: Sequence[float], nodes: int = NODES, target: int = 1
) -> tuple[dict[float, Tensor], Tensor]:
    """What one node has changed, read by who knows all others, by noise; and the truth.

    It is K times the change of the mean: noise in it has z C.
    """
    private = {"dp": "client", "dp-delta": DELTA, "dp-clip": CLIP}
    bias = BIAS.removeprefix("head.")

    def end(noise: float, away: int) -> tuple[Tensor, Server]:
        keys = config | private | {"dp-noise-multiplier": noise}
        _, server = run(keys, nodes, away=away)
        return server.strategy.global_model().head[bias], server

    without, server = end(1e-9, target)
    rises = {noise: nodes * (end(noise, 0)[0] - without) for noise in noises}
    return rises, truth(server, target, nodes)


def noised(config: Config, noises: Sequence[float]) -> list[Row]:
    """Rows of a table: the mean over draws of the noise, on one run without."""
    rises, true = released(config, (1e-6,))
    rows = []
    for z in noises:
        spread = z * CLIP
        draws = [rises[1e-6] + spread * gaussian(true.shape) for _ in range(DRAWS)]
        view = f"private, all others known, z {z:g} (epsilon {spent(z, DELTA, 1):.3g})"
        pairs = [(revealing.class_shares(rise), true) for rise in draws]
        rows += of_shares({view: pairs}, f"1 node, {DRAWS} draws")
    return rows


def texts(
    config: Config, place: Path, nodes: int, rows: int, letters: int
) -> tuple[dict[int, Config], list[list[str]], list[list[str]]]:
    """Give each node a file of its own: node configs, texts and labels."""
    lines = (sources.PACKAGED / "clinc150" / "train.jsonl").read_text().splitlines()
    some = [
        json.loads(line) for line in lines if len(json.loads(line)["text"]) < letters
    ]
    own, said, labels = {}, [], []
    for k in range(nodes):
        part = some[k * rows : (k + 1) * rows]
        file = place / f"node-{k}.jsonl"
        file.write_text("\n".join(map(json.dumps, part)) + "\n")
        own[k] = {wire.DATA_PATH: str(file), wire.RANK: 16}
        said.append([row["text"] for row in part])
        labels.append([row[config["label-column"]] for row in part])
    return own, said, labels


def batch(
    config: Config, nodes: int = FEW, rows: int = 2, letters: int = 45
) -> dict[str, list[dict[str, Any]]]:
    """What is read of every node's texts and labels, by what the operator holds."""
    config = COMMON | config | {
        "local-steps": 1, "batch-size": rows, "holdout-fraction": 0.0,
        "drift-correction": "control-variates", "client-ranks": "16",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        own, said, labels = texts(config, Path(place), nodes, rows, letters)
        grid, plain = run(config, nodes, own)
        secret, secure = run(config | SECURE, nodes, own)
    held: dict[tuple[str, int], dict[str, Tensor]] = {}
    control: Any = secure.strategy.drift_correction
    for node, content in grid.came.items():
        variate = wire.decode_tensors(content[wire.CORRECTION])
        sent = wire.decode_tensors(grid.sent[node][wire.ARRAYS])
        after = wire.decode_tensors(content[wire.ARRAYS])
        rate = float(config["learning-rate"])
        moved = {n: (sent[n] - v) / rate for n, v in after.items() if n in sent}
        hidden = masked(secure, secret.came[node], nodes)
        own_part = {n.removeprefix("control/"): v for n, v in hidden.items()}
        held["plain: control variate", node] = variate
        held["plain: update, one step of SGD", node] = moved
        held["secure: masked vector", node] = own_part
        held["secure: opened sum", node] = control.broadcast([], None).named_tensors()
    found: dict[str, list[dict[str, Any]]] = {}
    read = _tokens(plain, held, said)
    for (view, node), named in held.items():
        kinds, ids = labels[node - 1], read[view, node]
        counts = revealing.counts_of_batch(named[BIAS], rows).tolist()
        right = [kinds.count(name) for name in plain.prepared.labels]
        processor = plain.prepared.backbone.processor
        true = [processor(text)["input_ids"] for text in said[node - 1]]
        words = [processor.decode(t, skip_special_tokens=True) for t in ids]
        recall, precision = revealing.scores(ids, true, processor.all_special_ids)
        found.setdefault(view, []).append(
            {"recall": recall, "precision": precision, "labels": counts == right,
             "texts": said[node - 1], "read": words}
        )  # fmt: skip
    return found


@torch.inference_mode()
def _tokens(
    server: Server, held: dict[Any, dict[str, Tensor]], said: list[list[str]]
) -> dict[Any, list[list[int]]]:
    """Tokens in the span of what is held, by position."""
    backbone = server.prepared.backbone
    model: Any = backbone.model.eval()
    embeddings = next(m for m in model.modules() if hasattr(m, "word_embeddings"))
    ids = torch.arange(embeddings.word_embeddings.num_embeddings)[:, None]
    every = [text for texts in said for text in texts]
    length = max(len(backbone.processor(text)["input_ids"]) for text in every)
    spans = {key: revealing.span(named) for key, named in held.items()}
    found: dict[Any, list[list[int]]] = {key: [] for key in held}
    for position in range(length):
        at = torch.tensor([[position]])
        x = embeddings(input_ids=ids, position_ids=at)[:, 0].clone()
        for key, basis in spans.items():
            found[key].append(revealing.inside(x, basis))
    return found


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def of_shares(
    found: dict[str, list[tuple[Tensor, Tensor]]], of: str = "mean over nodes"
) -> list[Row]:
    """Rows of a table: correlation with the truth, and distance from it."""
    rows = []
    for view, pairs in found.items():
        close = _mean(revealing.correlation(*pair) for pair in pairs)
        off = _mean(revealing.distance(*pair) for pair in pairs)
        even = torch.full_like(pairs[0][1], 1 / len(pairs[0][1]))
        guess = _mean(revealing.distance(even, true) for _, true in pairs)
        what = f"class shares ({of}), {view}"
        rows.append(Row(what, f"correlation {close:.2f}, distance {off:.2f}",
                        f"equal shares: {guess:.2f}"))  # fmt: skip
    return rows


def of_batch(found: dict[str, list[dict[str, Any]]], name: str) -> list[Row]:
    """Rows of a table: tokens and labels that were read."""
    rows = []
    for view, nodes in found.items():
        recall = _mean(node["recall"] for node in nodes)
        precision = _mean(node["precision"] for node in nodes)
        labels = sum(node["labels"] for node in nodes)
        value = f"{recall:.0%} of tokens, {precision:.0%} of those read are right"
        rows.append(Row(f"{name}, {view}", f"{value}; labels of {labels} nodes",
                        f"{len(nodes)} nodes"))  # fmt: skip
    return rows


def main() -> None:
    """Run all attacks, print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", default="shares,private,batch")
    given = parser.parse_args()
    torch.set_num_threads(1)
    config: Config = {"model": given.model, "seed": given.seed, "max-length": 24}
    still = config | {"base-dropout": False}
    if "shares" in given.parts:
        report("inversion-shares", of_shares(shares(config)), given.json)
    if "private" in given.parts:
        report("inversion-private", noised(config, NOISES), given.json)
    if "batch" in given.parts:
        rows = of_batch(batch(still), "two texts a node")
        rows += of_batch(batch(still, 3, 1), "one text a node, three nodes")
        rows += of_batch(batch(config), "two texts a node, base-dropout")
        report("inversion-batch", rows, given.json)


if __name__ == "__main__":
    main()
