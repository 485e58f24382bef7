"""What local training costs beside a bare PEFT loop, and clients trained as one batch.

    python -m benchmarks.training [--models vit-base,roberta-base,llama-1b] [--out DIR]

Models have their published shapes and random weights; inputs are random. Times are
the median of several turns, the two sides taking turns in one process. On a GPU the
models compute in bfloat16, and their memory over many clients is watched.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from benchmarks.rows import Row, report
from benchmarks.shapes import (
    DEVICE,
    SCALING,
    RandomExamples,
    Shape,
    make_backbone,
    pretrained,
    shapes,
    start_of,
)
from benchmarks.timing import CUDA, paired
from ilora_app.settings import TrainingSettings
from ilora_app.tasks import stacked_training, training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.stacked_training import StackedClient

RANK = 8


class BareLoop:
    """What a user of PEFT writes: no federation, no hooks."""

    def __init__(self, shape: Shape, dtype: str) -> None:
        self.dtype = getattr(torch, dtype)
        config = LoraConfig(
            r=RANK,
            lora_alpha=SCALING * RANK,
            target_modules=shape.targets.split(","),
            modules_to_save=[shape.head] if shape.head else None,
        )
        self.model: Any = get_peft_model(pretrained(shape, self.dtype), config)
        self.model.to(DEVICE)
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and "lora" not in name:
                parameter.data = parameter.data.float()

    def train(self, examples: Examples, settings: TrainingSettings) -> None:
        """Train some steps."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=settings.learning_rate, weight_decay=0
        )
        self.model.train()
        generator = torch.Generator().manual_seed(0)
        size, steps = settings.batch_size, settings.local_steps
        for indices in examples.drawn(size, steps, 1, generator):
            batch = examples.batch(indices)
            moved = {key: value.to(DEVICE) for key, value in batch.items()}
            optimizer.zero_grad(set_to_none=True)
            half = self.dtype != torch.float32
            with torch.autocast(DEVICE.type, self.dtype, enabled=half):
                loss = self.model(**moved).loss
            loss.backward()
            optimizer.step()


def overhead(
    name: str, shape: Shape, backbone: Backbone, steps: int, turns: int, dtype: str
) -> list[Row]:
    """Steps a second of a node's training beside those of the bare loop."""
    bare, rows = BareLoop(shape, dtype), []
    for batch_size in (8, 32):
        settings = TrainingSettings(local_steps=steps, batch_size=batch_size)
        examples = RandomExamples.of(shape, 4 * batch_size, 0)
        start = start_of(backbone, RANK)
        for words, offset in (
            ("", {}),
            (", with the offset of the qr start", start.factors.pairs),
        ):
            backbone.install(start, offset)
            ours, theirs, ratio = paired(
                partial(training.train, backbone, examples, settings, 0),
                partial(bare.train, examples, settings),
                turns,
            )
            rows.append(
                Row(
                    f"{name}, {dtype}, batch {batch_size}: steps/s{words}",
                    f"{steps / ours:.1f}",
                    f"bare PEFT loop {steps / theirs:.1f}",
                    ratio,
                    "" if offset else ">= 0.97",
                )
            )
    return rows


def leak(name: str, shape: Shape, backbone: Backbone, dtype: str) -> list[Row]:
    """GPU memory in use after 50 clients of two ranks, and after the first two."""
    settings = TrainingSettings(local_steps=2, batch_size=8)
    after = []
    for client in range(50):
        examples = RandomExamples.of(shape, 8, client)
        backbone.install(start_of(backbone, (4, 16)[client % 2], client))
        training.train(backbone, examples, settings, client)
        backbone.collect()
        torch.cuda.synchronize()
        after.append(torch.cuda.memory_allocated())
    return [
        Row(
            f"{name}, {dtype}: bytes on the GPU after 50 clients",
            f"{after[-1]:,}",
            f"after 2: {after[1]:,}",
            after[-1] / after[1],
            "<= 1.001",
        )
    ]


def together(
    name: str, shape: Shape, backbone: Backbone, steps: int, turns: int, dtype: str
) -> list[Row]:
    """Client-rounds a minute of clients trained as one batch, and one by one."""
    rows = []
    for count in (8, 16):
        settings = TrainingSettings(local_steps=steps, batch_size=8)
        ranks = [(16, 8, 4, 2)[k % 4] for k in range(count)]
        clients = made(shape, backbone, ranks)
        names = list(clients[0].start.named_tensors())
        ours, theirs, ratio = paired(
            partial(stacked_training.train, backbone, clients, settings, names),
            partial(one_by_one, backbone, clients, settings),
            turns,
        )
        rows.append(
            Row(
                f"{name}, {dtype}, batch 8, {count} clients at once: client-rounds/min",
                f"{60 * count / ours:.0f}",
                f"one after the other {60 * count / theirs:.0f}",
                ratio,
                ">= 2" if CUDA else "",
            )
        )
    return rows


def made(shape: Shape, backbone: Backbone, ranks: Sequence[int]) -> list[StackedClient]:
    """Clients of these ranks."""
    return [
        StackedClient(
            start_of(backbone, rank, k), {}, RandomExamples.of(shape, 32, k), k
        )
        for k, rank in enumerate(ranks)
    ]


def one_by_one(
    backbone: Backbone, clients: Sequence[StackedClient], settings: TrainingSettings
) -> None:
    """Train clients one after the other."""
    for client in clients:
        alone(backbone, client, settings)


def alone(
    backbone: Backbone, client: StackedClient, settings: TrainingSettings
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and what a client ends with."""
    backbone.install(client.start)
    outcome = training.train(backbone, client.examples, settings, client.seed)
    return outcome.loss, backbone.collect().named_tensors()


def equality(name: str, shape: Shape) -> list[Row]:
    """How far apart a client ends, together and alone, in float32."""
    backbone = make_backbone(shape, "float32")
    rows = []
    for optimizer, rate in (("sgd", 0.01), ("adamw", 1e-3)):
        settings = replace(
            TrainingSettings(local_steps=3, batch_size=8),
            optimizer=optimizer,
            learning_rate=rate,
        )
        clients = made(shape, backbone, (16, 8, 4, 2))
        names = list(clients[0].start.named_tensors())
        found = stacked_training.train(backbone, clients, settings, names)
        most_loss = most = moved = 0.0
        for client, (outcome, ended) in zip(clients, found, strict=True):
            loss, expected = alone(backbone, client, settings)
            most_loss = max(most_loss, abs(outcome.loss - loss) / abs(loss))
            start = client.start.named_tensors()
            for key, value in ended.named_tensors().items():
                most = max(most, float((value - expected[key]).abs().max()))
                moved = max(moved, float((value - start[key]).abs().max()))
        rows += [
            Row(
                f"{name}, float32, {optimizer}: largest relative difference of losses",
                f"{most_loss:.1e}",
                "one after the other",
                most_loss,
                "<= 1e-5",
            ),
            # AdamW's first steps are signs of gradients, whatever their size: where a
            # gradient is rounding noise, so is the step.
            Row(
                f"{name}, float32, {optimizer}: largest difference of what is trained",
                f"{most:.1e}",
                f"it moved by {moved:.1e}",
                most,
                "<= 1e-5" if optimizer == "sgd" else "",
            ),
        ]
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="vit-base,roberta-base,llama-1b")
    parser.add_argument("--equality", default="vit-base,roberta-base")
    for option, value in (("--steps", 10), ("--turns", 5), ("--threads", 1)):
        parser.add_argument(option, type=int, default=value)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    found, dtype, rows = shapes(), "bfloat16" if CUDA else "float32", []
    for name in filter(None, chosen.equality.split(",")):
        rows += equality(name, found[name])
    for name in chosen.models.split(","):
        backbone, steps = make_backbone(found[name], dtype), chosen.steps
        rows += overhead(name, found[name], backbone, steps, chosen.turns, dtype)
        rows += together(name, found[name], backbone, steps, chosen.turns // 2, dtype)
        if CUDA:
            rows += leak(name, found[name], backbone, dtype)
        report("training", rows, chosen.out)


if __name__ == "__main__":
    main()
