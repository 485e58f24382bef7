"""The examples of a node: its partition, or data of its own, encoded once a process."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

from datasets import Dataset

from ilora_app.settings import DataSettings, ModelSettings
from ilora_app.settings.kinds import kind
from ilora_app.tasks import data, files, labelling, sources
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.encoded_split import encoded_test
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.remembered import remembered
from ilora_app.tasks.sources import DataError
from ilora_app.tasks.task import TASKS

# Examples that tell a node's data from that of others.
_FIRST = 32


@dataclass(frozen=True)
class NodeData:
    """What one node trains and evaluates on.

    It holds nothing else, so that runs of one process that differ in other settings
    share what is loaded and encoded.

    Attributes:
        model: settings of the model, whose tokenizer or image processor encodes.
        settings: settings of the data.
        seed: of the split.
        partition, partitions: its part of the data set; 0 of 1 where it has data of
            its own.
        path: folder with data of its own; empty: a partition.
        classes: of the federation, as the server sent them; none: those of the data.
        whole_model: every weight is trained.

    """

    model: ModelSettings
    settings: DataSettings
    seed: int
    partition: int = 0
    partitions: int = 1
    path: str = ""
    classes: tuple[str, ...] = ()
    whole_model: bool = False

    @property
    def where(self) -> str:
        """Where the examples are, for messages."""
        return self.path or f"partition {self.partition}"

    @property
    def source(self) -> DataSettings:
        """Settings of the data, with its columns by name.

        Raises:
            DataError: the data cannot be loaded, or lacks a column.

        """
        settings, task = self.settings, self.model.task
        if not self.path:
            return data.resolve_columns(settings, task, self.seed)
        # The partitioner has nothing to deal out, so no column is needed for it.
        own = replace(settings, dataset=self.path, dataset_subset="", partitioner="iid")
        return data.resolve_own_columns(own, task, self.seed)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes of the federation."""
        if self.classes or not TASKS[self.model.task].has_classes:
            return self.classes
        return labelling.names_of(self.source, self.model.task, self.seed)

    def part(self) -> data.Partition:
        """Load this node's rows: for training, and held out."""
        if self.path:
            return data.own_partition(self.source, self.seed, self.model.task)
        return data.partition(self.source, self.partition, self.partitions, self.seed)

    def left_out(self) -> int:
        """Count the rows without a class that are left out of data of its own."""
        return sources.left_out(self.source) if self.path else 0

    def check(self, part: data.Partition) -> None:
        """Look for what is wrong with this node's rows, without the model.

        Raises:
            DataError: there are none, or some have no class of the federation, or a
                file that cannot be read.

        """
        if len(part.train) == 0:
            empty = f"{self.where} holds no examples"
            raise DataError(empty, "it holds no examples")
        found = []
        for rows in (part.train, part.held_out):
            if len(rows):
                how = labelling.of_task(self.model.task)
                how.read(rows, self.source, self.labels, self.where)
            found += files.unreadable(rows, self.source, self.model.task, self.where)
        if found:
            which = files.WORDS[kind(self.model.task).file]
            raise DataError("; ".join(found), f"some of its {which} cannot be read")

    def backbone(self) -> Backbone:
        """Load the model, once a process."""
        return load_backbone(self.model, self.labels, self.seed, self.whole_model)

    def examples(self) -> tuple[Examples, Examples]:
        """Encode the rows, once a process: for training, and held out."""
        return _examples(self)

    def pooled(self) -> Examples:
        """The training examples of all partitions together, in their order."""
        return _pooled(replace(self, partition=0))

    def test(self) -> Examples | None:
        """Encode the test split, once a process; None where only the server has it."""
        if self.path:
            return None
        how = self.model, self.source, self.labels, self.seed, self.whole_model
        return encoded_test(*how)

    def encode(self, rows: Dataset) -> Examples:
        """Turn rows into examples."""
        task = TASKS[self.model.task]
        return task.encode(
            rows, self.source, self.labels, self.backbone().processor, self.where
        )

    @property
    def key(self) -> str:
        """What tells this node from others when the run is repeated.

        Many nodes may have their data under one path, each on its machine: what it is
        tells them apart.
        """
        return _digest(self) if self.path else str(self.partition)


@lru_cache(maxsize=256)
def _encoded(node: NodeData) -> tuple[Examples, Examples]:
    part = node.part()
    return node.encode(part.train), node.encode(part.held_out)


@lru_cache(maxsize=256)
def _examples(node: NodeData) -> tuple[Examples, Examples]:
    train, held_out = _encoded(node)
    backbone = node.backbone()
    return remembered(train, backbone), remembered(held_out, backbone)


@lru_cache(maxsize=4)
def _pooled(node: NodeData) -> Examples:
    parts = [_encoded(replace(node, partition=i))[0] for i in range(node.partitions)]
    return remembered(TASKS[node.model.task].join(parts), node.backbone())


@lru_cache(maxsize=256)
def _digest(node: NodeData) -> str:
    """Tell a node's own data from that of others: by its size, and how it begins."""
    examples, _ = _encoded(node)
    found = hashlib.sha256(str(len(examples)).encode())
    first = examples.batch(list(range(min(_FIRST, len(examples)))))
    for name in sorted(first):
        found.update(first[name].contiguous().numpy().tobytes())
    return found.hexdigest()
