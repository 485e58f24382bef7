"""A made-up run folder that asks much of a report: many clients, names that bite."""

import csv
import json
from pathlib import Path
from typing import Any

import tomli_w

from ilora_app.runs import class_scores
from ilora_app.settings import Settings, parsing

BITES = '<script>alert("x")</script>'
CLASSES = (BITES, "$a_1$ & b", "ordinary", "w" * 60)
REASON = f"{BITES} {'long' * 60} & more"
RANKS = (2, 4, 8, 16)


def hard_folder(folder: Path, clients: int = 12, rounds: int = 30) -> Path:
    """Twelve clients, thirty rounds, failures, a resumption, a node of its own."""
    events: list[dict[str, Any]] = [
        {"event": "versions", "packages": {"python": "3.11", BITES: "1"},
         "hardware": BITES},
        {"event": "class-counts", "classes": list(CLASSES),
         "counts": [[i, 10, 0, 1000 - i] for i in range(clients)]},
        {"event": "member", "node_id": 99, "rank": 4, "examples": 7, "held_out": 0,
         "partition": None, "partitions": None, "identity": f"own {BITES}"},
        {"event": "resumed", "run": 5, "after_round": 3},
        {"event": "reply-left-out", "round": 4, "purpose": "train", "node": 3,
         "partition": 2, "reason": REASON},
        {"event": "node-left-out", "node": 7, "reason": "--node-config rank = 0"},
        {"event": "model-unchanged", "round": 5, "reason": "no replies"},
    ]  # fmt: skip
    rows: list[dict[str, Any]] = [{"round": 0, "accuracy": 0.1, "loss": 2.3}]
    for number in range(1, rounds + 1):
        better = 1 - 1 / (number + 1)
        rows.append(
            {
                "round": number, "accuracy": better, "loss": 1 / number,
                "train_loss": 2 / number, "client_loss_mean": 1.5 / number,
                "client_accuracy_mean": better, "client_accuracy_worst": better / 2,
                "drift": 3.0 / number, "drift_head": 1.0, "bytes_up": 2e6,
                "bytes_down": 1e6, "bytes_up_evaluate": 200,
                "bytes_down_evaluate": 5e5, "seconds_train": 2.5,
                "seconds_aggregate": 0.5, "seconds_evaluate": 1.0,
                "seconds_client_mean": 1.25,
                **{f"energy_kept_r{r}": 1 - 1 / (r + number) for r in RANKS},
                **({f"accuracy_r{r}": 0.5 + r / 100 for r in RANKS}
                   if number == rounds else {}),
            }
        )  # fmt: skip
        measured = [
            {"node": i, "partition": i, "identity": "", "rank": RANKS[i % 4],
             "examples": 900, "held_out": 100, "loss": 1 / number,
             "accuracy": better - i / 100}
            for i in range(clients)
        ]  # fmt: skip
        events.append(
            {"event": "clients-evaluated", "round": number, "clients": measured}
        )
    layers = {
        f"model.layers.{i}.self_attn.{name}_proj": {
            "norm": 2.0**0.5, "values": [1.0, 0.9999, 0.01, 1e-5],
        }
        for i in range(16) for name in ("q", "v")
    }  # fmt: skip
    events.append({"event": "singular-values", "layers": layers})
    folder.mkdir(parents=True, exist_ok=True)
    true = [i for i in range(len(CLASSES)) for _ in range(25)]
    told = [(i + (n % 8 == 0)) % len(CLASSES) for n, i in enumerate(true)]
    class_scores.write(folder, class_scores.ByClass.of(CLASSES, true, told))
    return write(folder, rows, events)


def write(folder: Path, rows: list[dict[str, Any]], events: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    resolved = parsing.dump(Settings()) | {
        "model": BITES, "num-server-rounds": 30, "drift-correction": "control-variates",
    }  # fmt: skip
    (folder / "config.toml").write_text(tomli_w.dumps(resolved))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    lines = [json.dumps({"time": 1.0, **event}) for event in events]
    (folder / "events.jsonl").write_text("\n".join(lines) + '\n{"event": "torn')
    return folder
