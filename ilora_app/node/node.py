"""What a node is: the settings of the run, its rank, and its data."""

import hashlib
from dataclasses import dataclass, replace
from logging import INFO
from typing import Any

import torch
from flwr.app import Context
from flwr.supercore import log

from ilora_app import methods, wire
from ilora_app.methods import ClientHalf, Method
from ilora_app.node import auto_rank, config
from ilora_app.node.auto_rank import AUTO
from ilora_app.node.config import NodeError
from ilora_app.node.data import NodeData
from ilora_app.privacy.noise import unforeseen
from ilora_app.settings import Settings, TrainingSettings
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.schedule import rate_of


@dataclass(frozen=True)
class Node:
    """One client.

    Attributes:
        settings: the run config.
        rank: that this node can afford; 0: it is still to be found out.
        data: what it trains and evaluates on.

    """

    settings: Settings
    rank: int
    data: NodeData

    @classmethod
    def of(cls, context: Context, classes: tuple[str, ...] = ()) -> "Node":
        """Read the node's own config and the run config.

        Args:
            context: of the node.
            classes: of the federation, as the server sent them.

        Raises:
            NodeError: with the key, the value and what would be right.
            ConfigError: the run config has mistakes.

        """
        settings = methods.load(context.run_config)
        if settings.training.threads_per_client:
            torch.set_num_threads(settings.training.threads_per_client)
        facts = context.node_config
        wrong = config.problems(facts)
        if wrong:
            raise NodeError(*map("; ".join, zip(*wrong, strict=True)))
        if facts.get(wire.SECURE_REQUIRED) and not settings.privacy.secure_aggregation:
            raise NodeError.openly(
                f"--node-config {wire.SECURE_REQUIRED} = true: this node takes part in "
                "runs with secure-aggregation = true alone"
            )
        own = str(facts.get(wire.DATA_PATH, ""))
        partition, partitions = (0, 1) if own else config.partition(facts)
        dealt = settings.ranks[partition % len(settings.ranks)]
        rank = facts.get(wire.RANK, None if own else dealt)
        if rank is None:
            right = config.KEYS[wire.RANK].right
            given = f"--node-config {wire.RANK} = {rank!r}"
            raise NodeError.openly(f"{given}: expected {right}")
        data = NodeData(
            settings.model,
            settings.data,
            settings.run.seed,
            partition,
            partitions,
            own,
            classes,
            methods.find(settings.run.strategy).whole_model,
        )
        return cls(settings, 0 if rank == AUTO else int(rank), data)

    @property
    def method(self) -> type[Method]:
        """The method that the run config names."""
        return methods.find(self.settings.run.strategy)

    def client_half(self) -> ClientHalf:
        """Make the client half of the method."""
        return self.method.client_half(self.settings.method)

    def facts(self) -> dict[str, int | str]:
        """What this node says of itself when it is asked.

        Raises:
            NodeError: it cannot afford rank 1.
            DataError: its data cannot be used.

        """
        part = self.data.part()
        facts: dict[str, int | str] = {
            wire.RANK: self.offered_rank(),
            wire.EXAMPLES: len(part.train),
            wire.HELD_OUT: len(part.held_out),
        }
        if self.settings.privacy.secure_aggregation:  # counts are sums then
            facts |= {wire.EXAMPLES: 1, wire.HELD_OUT: 1}
        if self.settings.privacy.dp == "record":  # measured on rows, in no account
            facts |= {wire.HELD_OUT: 0}
        if not self.data.path:
            facts[wire.PARTITION] = self.data.partition
            facts[wire.PARTITIONS] = self.data.partitions
        self.data.check(part)
        if left_out := self.data.left_out():
            log(INFO, "%d rows without a class are left out", left_out)
        return facts

    def pooled(self) -> Examples:
        """The training examples of all partitions together, in their order.

        Raises:
            NodeError: this node has data of its own.

        """
        if self.data.path:
            told = (
                f"strategy {self.settings.run.strategy} pools all data, which nodes "
                "with data of their own do not share; run it in simulation"
            )
            given = f"--node-config {wire.DATA_PATH} = {self.data.path!r}"
            raise NodeError(f"{given}: {told}", told)
        return self.data.pooled()

    def offered_rank(self) -> int:
        """The rank that this node can afford, by what memory is free.

        Raises:
            NodeError: not even rank 1.

        """
        if self.rank:
            return self.rank
        backbone = self.data.backbone()
        model: Any = backbone.model
        head = sum(value.numel() for value in backbone.initial_head().values())
        load = auto_rank.load_of(model.config, backbone.shapes(), head, self.settings)
        free = auto_rank.free_memory(backbone.device)
        found = auto_rank.largest_rank(load, free, max(self.settings.ranks))
        needed = auto_rank.needed(load, 1)
        free_mb, needed_mb = (round(n / 1e6) for n in (free, needed))
        if not found:
            raise NodeError.openly(
                f"--node-config {wire.RANK} = {AUTO!r}: rank 1 needs {needed_mb} MB, "
                f"which is more than 80 % of the {free_mb} MB of free memory; a "
                "smaller batch-size, or more gradient-accumulation, needs less"
            )
        log(INFO, "%d MB of free memory afford rank %d", free_mb, found)
        return found

    def local_training(self, pooled: bool, server_round: int) -> TrainingSettings:
        """Settings of local training in a round, with its learning rate.

        Pooled data takes the steps of all clients.
        """
        rounds = self.settings.run.num_server_rounds
        rate = rate_of(self.settings.training, server_round, rounds)
        training = replace(self.settings.training, learning_rate=rate)
        if pooled and training.local_steps:
            steps = training.local_steps * self.data.partitions
            return replace(training, local_steps=steps)
        return training

    def seed(self, server_round: int) -> int:
        """Seed of this node in one round, whatever process it runs in.

        Under ``dp="record"`` another each time: those of a node's own data are made of
        it, and nothing that leaves the node may follow from one row.
        """
        if self.settings.privacy.dp == "record":
            return unforeseen()
        text = f"{self.settings.run.seed}/{server_round}/{self.data.key}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
