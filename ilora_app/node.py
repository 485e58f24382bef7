"""What a node knows of itself: its rank, its part of the data, its process's caches."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from logging import INFO
from typing import Any

import torch
from datasets import Dataset
from flwr.app import Context
from flwr.supercore import log

from ilora_app import affordable, config, node_config, wire
from ilora_app.affordable import AUTO, load_of, needed
from ilora_app.node_config import NodeError as NodeError
from ilora_app.settings import DataSettings, Settings, TrainingSettings
from ilora_app.settings.model import IMAGE
from ilora_app.strategies import STRATEGIES, ClientHalf, LoraStrategy
from ilora_app.tasks import data, vision
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.labels import label_ids, label_names
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.task import TASKS

# Examples that tell a node's data from that of others.
_FIRST = 32


@dataclass(frozen=True)
class Node:
    """One client: its settings, its rank, and which data it holds.

    Attributes:
        settings: the run config.
        rank: that this node can afford; 0: it is still to be found out.
        partition, partitions: its part of the data set; 0 of 1 where it has data of
            its own.
        data_path: folder with data of its own; empty: a partition.
        classes: of the federation, as the server sent them; none: those of the data.

    """

    settings: Settings
    rank: int
    partition: int = 0
    partitions: int = 1
    data_path: str = ""
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, context: Context, classes: tuple[str, ...] = ()) -> "Node":
        """Read the node's own config and the run config.

        Raises:
            NodeError: with the key, the value and what would be right.
            ConfigError: the run config has mistakes.

        """
        settings = config.load(context.run_config)
        if settings.training.threads_per_client:
            torch.set_num_threads(settings.training.threads_per_client)
        facts = context.node_config
        wrong = node_config.problems(facts)
        if wrong:
            raise NodeError("; ".join(wrong))
        own = str(facts.get(wire.DATA_PATH, ""))
        partition, partitions = (0, 1) if own else node_config.partition(facts)
        dealt = settings.ranks[partition % len(settings.ranks)]
        rank = facts.get(wire.RANK, None if own else dealt)
        if rank == AUTO:
            rank = 0
        elif not isinstance(rank, int):
            right = node_config.KEYS[wire.RANK].right
            raise NodeError(f"--node-config {wire.RANK} = {rank!r}: expected {right}")
        return cls(settings, rank, partition, partitions, own, classes)

    def offered_rank(self) -> int:
        """The rank that this node can afford, by what memory is free.

        Raises:
            NodeError: not even rank 1.

        """
        if self.rank:
            return self.rank
        backbone = self.backbone()
        model: Any = backbone.model
        head = sum(value.numel() for value in backbone.initial_head().values())
        load = load_of(model.config, backbone.shapes(), head, self.settings)
        free = affordable.free_memory(backbone.device)
        found = affordable.affordable(load, free, max(self.settings.ranks))
        free_mb, needed_mb = (round(n / 1e6) for n in (free, needed(load, 1)))
        if not found:
            raise NodeError(
                f"--node-config {wire.RANK} = {AUTO!r}: rank 1 needs {needed_mb} MB, "
                f"which is more than 80 % of the {free_mb} MB of free memory; a "
                "smaller batch-size, or more gradient-accumulation, needs less"
            )
        log(INFO, "%d MB of free memory afford rank %d", free_mb, found)
        return found

    @property
    def source(self) -> DataSettings:
        """Settings of the data that this node trains on, with its columns by name.

        Raises:
            DataError: the data cannot be loaded, or lacks a column.

        """
        settings, task = self.settings.data, self.settings.model.task
        seed = self.settings.run.seed
        if not self.data_path:
            return data.found(settings, task, seed)
        # The partitioner has nothing to deal out, so no column is needed for it.
        own = replace(
            settings, dataset=self.data_path, dataset_subset="", partitioner="iid"
        )
        return data.found_own(own, task, seed)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes of the federation."""
        if self.classes or not TASKS[self.settings.model.task].has_classes:
            return self.classes
        return label_names(self.source, self.settings.run.seed)

    def part(self) -> data.Partition:
        """Load this node's examples: for training, and held out."""
        seed = self.settings.run.seed
        if self.data_path:
            return data.own(self.source, seed)
        return data.partition(self.source, self.partition, self.partitions, seed)

    def problems(self) -> list[str]:
        """What is wrong with this node's examples, without the model."""
        part = self.part()
        if len(part.train) == 0:
            return [f"{self.where} holds no examples"]
        found = []
        for rows in (part.train, part.held_out):
            if TASKS[self.settings.model.task].has_classes and len(rows):
                column = self.source.label_column
                label_ids(list(rows[column]), rows.features[column], self.labels)
            if self.settings.model.task == IMAGE:
                found += vision.unreadable(rows, self.source.image_column, self.where)
        return found

    @property
    def where(self) -> str:
        """Where its examples are, for messages."""
        return self.data_path or f"partition {self.partition}"

    @property
    def strategy(self) -> type[LoraStrategy]:
        """Server half of the method."""
        return STRATEGIES[self.settings.run.strategy]

    def client_half(self) -> ClientHalf:
        """Make the client half of the method."""
        return self.strategy.client_half(self.settings.method)

    def backbone(self) -> Backbone:
        """Load the model, once a process."""
        return load_backbone(
            self.settings.model,
            self.labels,
            self.settings.run.seed,
            self.strategy.whole_model,
        )

    def examples(self) -> tuple[Examples, Examples]:
        """Encode this node's examples, once a process: training and held out."""
        return _examples(self)

    def pooled(self) -> Examples:
        """The training examples of all partitions together, in their order.

        Raises:
            NodeError: this node has data of its own.

        """
        if self.data_path:
            raise NodeError(
                f"--node-config {wire.DATA_PATH} = {self.data_path!r}: strategy "
                f"{self.settings.run.strategy} pools all data, which nodes with data "
                "of their own do not share; run it in simulation"
            )
        together = [
            replace(self, partition=i).examples()[0] for i in range(self.partitions)
        ]
        return TASKS[self.settings.model.task].join(together)

    def test(self) -> Examples | None:
        """Encode the test split, once a process; None where only the server has it."""
        return None if self.data_path else _test(replace(self, partition=0))

    def encode(self, rows: Dataset) -> Examples:
        """Turn rows of this node's data into examples."""
        task = TASKS[self.settings.model.task]
        return task.encode(
            rows, self.source, self.labels, self.backbone().processor, self.where
        )

    def local_training(self, pooled: bool) -> TrainingSettings:
        """Settings of local training; pooled data takes the steps of all clients."""
        training = self.settings.training
        if pooled and training.local_steps:
            steps = training.local_steps * self.partitions
            return replace(training, local_steps=steps)
        return training

    def seed(self, server_round: int) -> int:
        """Seed of this node in one round, whatever process it runs in.

        Many nodes may have their data under one path, each on its machine: what it is
        tells them apart, and is the same when the run is repeated.
        """
        who = _digest(self) if self.data_path else self.partition
        text = f"{self.settings.run.seed}/{server_round}/{who}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@lru_cache(maxsize=256)
def _examples(node: Node) -> tuple[Examples, Examples]:
    part = node.part()
    return node.encode(part.train), node.encode(part.held_out)


@lru_cache(maxsize=256)
def _digest(node: Node) -> str:
    """Tell a node's own data from that of others: by its size, and how it begins."""
    examples, _ = node.examples()
    found = hashlib.sha256(str(len(examples)).encode())
    first = examples.batch(list(range(min(_FIRST, len(examples)))))
    for name in sorted(first):
        found.update(first[name].contiguous().numpy().tobytes())
    return found.hexdigest()


@lru_cache(maxsize=4)
def _test(node: Node) -> Examples:
    return node.encode(data.test_rows(node.source, node.settings.run.seed))
