"""How the training split is dealt out, by every partitioner."""

from collections import Counter
from dataclasses import replace

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from ilora_app.settings import DataSettings
from ilora_app.settings.data import PARTITIONERS
from ilora_app.settings.model import TEXT
from ilora_app.tasks import data, partitions
from ilora_app.tasks.sources import DataError

CLIENTS = 4


@pytest.fixture
def settings(tmp_path) -> DataSettings:
    rows = [
        {
            "text": f"text {i}",
            "label": f"class {i % 5}",
            "client": f"ward {i % CLIENTS}",
        }
        for i in range(200)
    ]
    for name, part in (("train", rows), ("test", rows[:20])):
        Dataset.from_list(part).to_json(str(tmp_path / f"{name}.jsonl"))
    return DataSettings(dataset=str(tmp_path), dirichlet_alpha=0.5)


def dealt(settings: DataSettings) -> list[Dataset]:
    found = data.resolve_columns(settings, TEXT, 0)
    return [partitions.load(found, i, CLIENTS, 0) for i in range(CLIENTS)]


@pytest.mark.parametrize("name", PARTITIONERS)
def test_every_partitioner_deals_out_every_row_once(settings, name):
    parts = dealt(replace(settings, partitioner=name))
    texts = sorted(text for part in parts for text in part["text"])
    assert len(texts) == len(set(texts))
    # Incomplete shards are left over by design.
    assert len(texts) >= (160 if name == "shard" else 200)
    again = dealt(replace(settings, partitioner=name))
    assert [p["text"] for p in parts] == [p["text"] for p in again]


def test_each_deals_in_its_own_way(settings):
    def counts(**changes):
        parts = dealt(replace(settings, **changes))
        return [len(p) for p in parts], [Counter(p["label"]) for p in parts], parts

    sizes, _, _ = counts(partitioner="iid")
    assert sizes == [50] * CLIENTS
    sizes, _, _ = counts(partitioner="linear")
    assert sizes == [20, 40, 60, 80]
    sizes, _, _ = counts(partitioner="exponential")
    assert sizes == sorted(sizes)
    assert sizes[-1] > 2 * sizes[-2]
    _, labels, _ = counts(partitioner="pathological", classes_per_partition=2)
    assert all(len(found) == 2 for found in labels)
    _, labels, _ = counts(partitioner="shard", shards_per_partition=1)
    assert all(len(found) <= 2 for found in labels)
    _, _, parts = counts(partitioner="natural-id")
    assert [set(p["client"]) for p in parts] == [{f"ward {i}"} for i in range(CLIENTS)]


def test_label_skew_by_another_column(settings):
    parts = dealt(replace(settings, partition_by="client", dirichlet_alpha=0.05))
    shares = [max(Counter(p["client"]).values()) / len(p) for p in parts]
    assert max(shares) > 0.8


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"partitioner": "natural-id"}, "partition-by = 'client': "),
        (
            {"partitioner": "pathological", "classes_per_partition": 9},
            "classes-per-partition = 9: ",
        ),
        ({"dirichlet_alpha": 0.001}, "min-partition-size = 10: "),
        ({"train_split": ""}, "train-split = '': "),
    ],
)
def test_what_cannot_be_dealt_out_is_explained(settings, changes, expected):
    found = data.resolve_columns(replace(settings, **changes), TEXT, 0)
    with pytest.raises(DataError) as caught:
        partitions.load(found, 0, 10, 0)
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize("name", PARTITIONERS)
def test_classes_are_counted_as_they_are_dealt_out(settings, name):
    changed = replace(settings, partitioner=name)
    found = data.resolve_columns(changed, TEXT, 0)
    names, counts = partitions.class_counts(found, CLIENTS, 0)
    assert names == [f"class {i}" for i in range(5)]
    for part, row in zip(dealt(changed), counts, strict=True):
        seen = Counter(part["label"])
        assert row == [seen[name] for name in names]


def test_classes_have_the_names_of_the_schema(tmp_path):
    rows = {"text": ["a", "b", "c", "d"] * 5, "label": [2, 0, 0, 2] * 5}
    schema = Features(
        {"text": Value("string"), "label": ClassLabel(names=["x", "y", "z"])}
    )
    whole = Dataset.from_dict(rows, features=schema)
    DatasetDict({"train": whole, "test": whole}).save_to_disk(str(tmp_path / "set"))
    settings = DataSettings(dataset=str(tmp_path / "set"), partitioner="iid")
    found = data.resolve_columns(settings, TEXT, 0)
    names, counts = partitions.class_counts(found, 2, 0)
    assert names == ["x", "y", "z"]
    assert [sum(column) for column in zip(*counts, strict=True)] == [10, 0, 10]


def test_nothing_is_counted_where_no_column_is_named(settings):
    with pytest.raises(DataError, match="expected a column to count"):
        partitions.class_counts(
            replace(settings, label_column="", partition_by=""), 2, 0
        )
