"""The training split dealt out to clients, by flwr-datasets' partitioners."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from datasets import ClassLabel, Dataset

from ilora_app.settings import DataSettings
from ilora_app.settings.data import AUTO
from ilora_app.tasks import deal_column, partitioners
from ilora_app.tasks.sources import DataError, split
from ilora_app.tasks.splits import class_name

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner

fl = partitioners.load()


def load(settings: DataSettings, number: int, partitions: int, seed: int) -> Dataset:
    """Load one client's part of the training split.

    Raises:
        DataError: the split cannot be dealt out to so many clients in that way.

    """
    if not settings.train_split:
        raise DataError.openly(
            "train-split = '': no data is dealt out; a node needs data of its own, "
            "--node-config \"data-path='/data/train'\""
        )
    whole = split(settings, settings.train_split, seed)
    if partitions > len(whole):
        raise DataError.openly(
            f"num-supernodes = {partitions}: {settings.dataset} has {len(whole)} "
            "training examples; expected no more clients than examples"
        )
    dealt = dealer(settings, partitions, seed)
    try:
        if settings.partitioner == "natural-id" and dealt.num_partitions < partitions:
            raise ValueError(f"it has {dealt.num_partitions} values")
        return dealt.load_partition(number)
    except (ValueError, KeyError) as error:
        told = _refused(settings, partitions, len(whole))
        raise DataError(f"{told} ({error})", told) from error


@cache
def dealer(settings: DataSettings, partitions: int, seed: int) -> "Partitioner":
    """Make the partitioner of the training split, once a process.

    Raises:
        DataError: the column that it goes by does not have one value in every row.

    """
    by = settings.partition_by
    whole = split(settings, settings.train_split, seed)
    deal_column.check(whole, settings)
    kinds: dict[str, Partitioner] = {
        "dirichlet": lambda: fl.DirichletPartitioner(
            num_partitions=partitions,
            partition_by=by,
            alpha=settings.dirichlet_alpha,
            min_partition_size=settings.min_partition_size,
            self_balancing=False,
            seed=seed,
        ),
        "iid": lambda: fl.IidPartitioner(partitions),
        "pathological": lambda: fl.PathologicalPartitioner(
            num_partitions=partitions,
            partition_by=by,
            num_classes_per_partition=settings.classes_per_partition,
            class_assignment_mode="first-deterministic",
            seed=seed,
        ),
        "shard": lambda: fl.ShardPartitioner(
            num_partitions=partitions,
            partition_by=by,
            num_shards_per_partition=settings.shards_per_partition,
            seed=seed,
        ),
        "linear": lambda: fl.LinearPartitioner(partitions),
        "exponential": lambda: fl.ExponentialPartitioner(partitions),
        "natural-id": lambda: fl.NaturalIdPartitioner(partition_by=by),
    }
    chosen = settings.partitioner
    if chosen == AUTO:
        chosen = "dirichlet" if by else "iid"
    made = kinds[chosen]()
    made.dataset = whole
    return made


def class_counts(
    settings: DataSettings, partitions: int, seed: int
) -> tuple[list[str], list[list[int]]]:
    """Count the rows of each class in each part of the training split.

    Classes are the values of ``label-column``, or of ``partition-by`` where there is
    none. Held-out rows are counted too; a row of several classes counts for each.

    Returns:
        Names of the classes, and a list of counts for each part.

    Raises:
        DataError: neither column is named, or the split cannot be dealt out by it.

    """
    column = settings.label_column or settings.partition_by
    if not column:
        raise DataError("label-column = '': expected a column to count")
    whole = split(settings, settings.train_split, seed)
    feature = whole.features[column]
    dealt = dealer(settings, partitions, seed)
    counts = [Counter(_flat(part)) for part in _values(dealt, column, partitions)]
    feature = getattr(feature, "feature", feature)  # of the values of lists
    if isinstance(feature, ClassLabel):
        return list(feature.names), [
            [count[i] for i in range(len(feature.names))] for count in counts
        ]
    seen = sorted({value for count in counts for value in count}, key=str)
    return [class_name(value) for value in seen], [[c[v] for v in seen] for c in counts]


def _values(dealt: "Partitioner", column: str, partitions: int) -> Iterator[list[Any]]:
    """Values of a column in each part, without reading any other column."""
    if isinstance(dealt, fl.NaturalIdPartitioner):
        # Its own way goes through all rows, images and all, for every part.
        rows = dealt.dataset.select_columns(list({column, dealt._partition_by}))
        dealt.num_partitions  # noqa: B018 - makes the mapping
        names = dealt.partition_id_to_natural_id
        by, values = rows[dealt._partition_by][:], rows[column][:]
        found: dict[Any, list[Any]] = {}
        for name, value in zip(by, values, strict=True):
            found.setdefault(name, []).append(value)
        for number in range(partitions):
            yield found[names[number]]
        return
    for number in range(partitions):
        yield dealt.load_partition(number).select_columns([column])[column][:]


def _flat(values: list[Any]) -> Iterator[Any]:
    """The values, and those in lists among them."""
    for value in values:
        yield from value if isinstance(value, list) else (value,)


def _refused(settings: DataSettings, partitions: int, examples: int) -> str:
    if settings.partitioner == "dirichlet":
        return (
            f"min-partition-size = {settings.min_partition_size}: no Dirichlet draw "
            f"with dirichlet-alpha = {settings.dirichlet_alpha:g} gives each of "
            f"{partitions} clients so many of {examples} examples; expected less, or "
            "a larger alpha"
        )
    keys = {
        "pathological": f"classes-per-partition = {settings.classes_per_partition}",
        "shard": f"shards-per-partition = {settings.shards_per_partition}",
        "natural-id": f"partition-by = {settings.partition_by!r}",
    }
    key = keys.get(settings.partitioner, f"partitioner = {settings.partitioner!r}")
    return f"{key}: {examples} examples cannot be dealt out to {partitions} clients so"
