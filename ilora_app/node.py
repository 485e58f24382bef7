"""What a node knows of itself: its rank, its part of the data, its process's caches."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from flwr.app import Context

from ilora_app import config, wire
from ilora_app.settings import DataSettings, Settings, TrainingSettings
from ilora_app.strategies import STRATEGIES, ClientHalf, LoraStrategy
from ilora_app.tasks import data
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.text import TextExamples, joined, tokenise


class NodeError(ValueError):
    """A node that cannot take part as it is configured."""


@dataclass(frozen=True)
class Node:
    """One client: its settings, its rank, and which partition it holds."""

    settings: Settings
    rank: int
    partition: int
    partitions: int

    @classmethod
    def of(cls, context: Context) -> "Node":
        """Read the node's own config and the run config.

        Raises:
            NodeError: with the key, the value and what would be right.
            ConfigError: the run config has mistakes.

        """
        settings = config.load(context.run_config)
        if settings.training.threads_per_client:
            torch.set_num_threads(settings.training.threads_per_client)
        facts = context.node_config
        partition, partitions = facts.get(wire.PARTITION), facts.get(wire.PARTITIONS)
        if not isinstance(partition, int) or not isinstance(partitions, int):
            raise NodeError(
                f"--node-config {wire.PARTITION} = {partition!r}, {wire.PARTITIONS} = "
                f"{partitions!r}: expected whole numbers, such as "
                f'"{wire.PARTITION}=0 {wire.PARTITIONS}=2"'
            )
        if not 0 <= partition < partitions:
            raise NodeError(
                f"--node-config {wire.PARTITION} = {partition}: expected 0 to "
                f"{partitions - 1}, as {wire.PARTITIONS} = {partitions}"
            )
        dealt = settings.ranks[partition % len(settings.ranks)]
        rank = facts.get(wire.RANK, dealt)
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise NodeError(
                f"--node-config {wire.RANK} = {rank!r}: expected a whole number above 0"
            )
        return cls(settings, rank, partition, partitions)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return data.label_names(self.settings.data, self.settings.run.seed)

    def part(self) -> data.Partition:
        """Load this node's examples: for training, and held out."""
        run = self.settings.run
        return data.partition(
            self.settings.data, self.partition, self.partitions, run.seed
        )

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

    def examples(self) -> tuple[TextExamples, TextExamples]:
        """Tokenise this node's examples, once a process: training and held out."""
        return _examples(
            self.settings.data,
            self.backbone(),
            self.labels,
            self.partition,
            self.partitions,
            self.settings.run.seed,
        )

    def pooled(self) -> TextExamples:
        """The training examples of all partitions together, in their order."""
        together = [
            replace(self, partition=i).examples()[0] for i in range(self.partitions)
        ]
        return joined(together)

    def test(self) -> TextExamples:
        """Tokenise the test split, once a process."""
        return _test(
            self.settings.data, self.backbone(), self.labels, self.settings.run.seed
        )

    def local_training(self, pooled: bool) -> TrainingSettings:
        """Settings of local training; pooled data takes the steps of all clients."""
        training = self.settings.training
        if pooled and training.local_steps:
            steps = training.local_steps * self.partitions
            return replace(training, local_steps=steps)
        return training

    def seed(self, server_round: int) -> int:
        """Seed of this node's batches in one round, whatever process it runs in."""
        text = f"{self.settings.run.seed}/{server_round}/{self.partition}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@lru_cache(maxsize=256)
def _examples(
    settings: DataSettings,
    backbone: Backbone,
    labels: tuple[str, ...],
    partition: int,
    partitions: int,
    seed: int,
) -> tuple[TextExamples, TextExamples]:
    part = data.partition(settings, partition, partitions, seed)
    return (
        tokenise(part.train, settings, labels, backbone.tokenizer),
        tokenise(part.held_out, settings, labels, backbone.tokenizer),
    )


@lru_cache(maxsize=4)
def _test(
    settings: DataSettings, backbone: Backbone, labels: tuple[str, ...], seed: int
) -> TextExamples:
    rows = data.test_rows(settings, seed)
    return tokenise(rows, settings, labels, backbone.tokenizer)
