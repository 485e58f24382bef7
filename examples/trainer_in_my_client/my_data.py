"""Data and model of this project; put your own here."""

import json

from datasets import Dataset

from ilora_app.settings import ModelSettings
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.sources import PACKAGED

RANKS = (2, 4, 8)
ROWS = [
    json.loads(line)
    for line in (PACKAGED / "clinc150" / "train.jsonl").read_text().splitlines()
]
CLASSES = tuple(sorted({row["domain"] for row in ROWS}))


def my_rows(partition: int, partitions: int) -> list[dict]:
    """Rows of one node."""
    return ROWS[partition::partitions]


def my_dataset(rows: list[dict], backbone: Backbone) -> Dataset:
    """Make what a Trainer reads of rows."""
    encoded = backbone.processor([row["text"] for row in rows], truncation=True)
    labels = [CLASSES.index(row["domain"]) for row in rows]
    return Dataset.from_dict({**encoded, "labels": labels})


def my_model(name: str) -> Backbone:
    """Load the model with its LoRA layers, the same on the server and every node."""
    return load_backbone(ModelSettings(model=name), CLASSES, seed=0)
