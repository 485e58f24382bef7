"""Folders in every usual format, and what is said about those that cannot be used."""

import json
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from PIL import Image

from ilora_app.settings import DataSettings
from ilora_app.settings.model import IMAGE, LANGUAGE, TEXT
from ilora_app.tasks import data, models, places, sources
from ilora_app.tasks.labels import label_names, one_sided

ROWS = [{"text": f"number {i}", "label": i % 3} for i in range(30)]
NAMED = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b", "c"])})


def settings(folder: Path, **changes) -> DataSettings:
    return DataSettings(dataset=str(folder), **changes)


def write(folder: Path, form: str, rows=ROWS) -> None:
    """Both splits in one format; the test split is the first 9 rows."""
    parts = {"train": Dataset.from_list(rows), "test": Dataset.from_list(rows[:9])}
    if form == "saved":
        DatasetDict(parts).save_to_disk(str(folder))
        return
    writer = {"jsonl": "to_json", "csv": "to_csv", "parquet": "to_parquet"}[form]
    folder.mkdir(exist_ok=True)
    for name, part in parts.items():
        getattr(part, writer)(str(folder / f"{name}.{form}"))


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "saved"])
def test_a_folder_of_every_format_gives_the_same_rows(tmp_path, form):
    write(tmp_path / "data", form)
    named = settings(tmp_path / "data")
    assert data.problems(named, TEXT, 0) == []
    found = data.resolve_columns(named, TEXT, 0)
    assert (found.text_columns, found.label_column) == ("text", "label")
    assert label_names(found, 0) == ("0", "1", "2")
    rows = sources.split(found, "train", 0)
    assert sorted(rows["text"]) == sorted(row["text"] for row in ROWS)
    assert len(data.test_rows(found, 0)) == 9


def test_a_folder_of_images_by_class(tmp_path):
    for split, number in (("train", 6), ("test", 2)):
        for label, colour in (("cat", "red"), ("dog", "blue")):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for index in range(number):
                Image.new("RGB", (9 + index, 8), colour).save(folder / f"{index}.png")
    named = settings(tmp_path)
    assert data.problems(named, IMAGE, 0) == []
    found = data.resolve_columns(named, IMAGE, 0)
    assert (found.image_column, found.label_column) == ("image", "label")
    assert label_names(found, 0) == ("cat", "dog")
    assert len(sources.split(found, "train", 0)) == 12


def test_a_saved_set_without_splits_is_a_training_split(tmp_path):
    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "own"))
    own = data.resolve_own_columns(settings(tmp_path / "own"), TEXT, 0)
    part = data.own_partition(own, 0)
    assert (len(part.train), len(part.held_out)) == (27, 3)


@pytest.mark.parametrize("partitioner", ["dirichlet", "shard"])
def test_nothing_is_written_into_a_saved_set(tmp_path, partitioner):
    rows = Dataset.from_list([{"text": f"{i}", "label": i % 3} for i in range(100)])
    DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "dealt"))
    rows.save_to_disk(str(tmp_path / "own"), num_shards=3)
    before = sorted(tmp_path.rglob("*"))
    how = {"partitioner": partitioner, "test_split": "train[:20%]"}
    dealt = settings(tmp_path / "dealt", train_split="train[20%:]", **how)
    dealt = data.resolve_columns(dealt, TEXT, 0)
    trained = data.partition(dealt, 0, 2, 0).train
    own = data.resolve_own_columns(settings(tmp_path / "own"), TEXT, 0)
    held_out = data.own_partition(own, 0).held_out
    assert sorted(tmp_path.rglob("*")) == before
    # The rows are mapped and shuffled as datasets does it, beside the data or not.
    assert trained.features == rows.features
    assert held_out["text"][:] == rows.shuffle(seed=0)["text"][:10]


def test_one_file_is_a_node_s_own_data_whatever_its_split_is_called(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "hello,a\n" * 10)
    part = data.own_partition(data.resolve_own_columns(settings(tmp_path), TEXT, 0), 0)
    assert len(part.train) + len(part.held_out) == 10


@pytest.mark.parametrize(
    ("changes", "task", "expected"),
    [
        ({"text_columns": "body"}, TEXT, "text-columns = 'body': "),
        ({"label_column": "kind"}, TEXT, "label-column = 'kind': "),
        ({}, IMAGE, "image-column = 'auto': "),
        (
            {
                "text_columns": "text",
                "answer_column": "label",
                "prompt_template": "Q: {question}",
                "partitioner": "iid",
            },
            LANGUAGE,
            "prompt-template = 'Q: {question}': it names {question}; ",
        ),
        (
            {
                "text_columns": "text",
                "answer_column": "label",
                "prompt_template": "Q: {text",
                "partitioner": "iid",
            },
            LANGUAGE,
            "prompt-template = 'Q: {text': ",
        ),
        ({"partition_by": "hospital"}, TEXT, "partition-by = 'hospital': "),
        ({"partitioner": "natural-id"}, TEXT, "partition-by = '': "),
        ({"test_split": "dev"}, TEXT, "test-split = 'dev': "),
    ],
)
def test_a_wrong_column_or_split_is_named_once_with_what_there_is(
    tmp_path, changes, task, expected
):
    write(tmp_path / "data", "jsonl")
    found = data.problems(settings(tmp_path / "data", **changes), task, 0)
    assert len(found) == 1
    assert found[0].startswith(expected)
    there = "train, test" if expected.startswith("test-split") else "text, label"
    assert there in found[0] or "expected '}'" in found[0]


def test_an_empty_split_is_named(tmp_path):
    features = Features({"text": Value("string"), "label": Value("string")})
    full = Dataset.from_list([{"text": "a", "label": "b"}] * 4, features)
    full.to_parquet(str(tmp_path / "train.parquet"))
    full.select([]).to_parquet(str(tmp_path / "test.parquet"))
    (found,) = data.problems(settings(tmp_path), TEXT, 0)
    assert "the split test is empty" in found


@pytest.mark.parametrize("missing", [-1, None])
def test_rows_without_a_class_are_counted(tmp_path, missing):
    rows = [*ROWS[:20], *({"text": "x", "label": missing} for _ in range(5))]
    parts = {
        "train": Dataset.from_list(ROWS, NAMED),
        "test": Dataset.from_list(rows, NAMED),
    }
    DatasetDict(parts).save_to_disk(str(tmp_path / "data"))
    found = data.resolve_columns(settings(tmp_path / "data"), TEXT, 0)
    with pytest.raises(sources.DataError, match=r"5 of 25 rows of the split test"):
        label_names(found, 0)


def test_classes_that_are_never_tested_are_known(tmp_path):
    parts = {
        "train": Dataset.from_list(ROWS, NAMED),
        "test": Dataset.from_list([r for r in ROWS if r["label"] != 1], NAMED),
    }
    DatasetDict(parts).save_to_disk(str(tmp_path / "data"))
    found = data.resolve_columns(settings(tmp_path / "data"), TEXT, 0)
    assert one_sided(found, 0) == (["b"], [])


def test_a_folder_that_is_no_data_set_says_what_it_may_hold(tmp_path):
    (tmp_path / "notes.txt.gz").write_bytes(b"no data")
    (found,) = data.problems(settings(tmp_path), TEXT, 0)
    assert "the folder cannot be read" in found
    assert "save_to_disk" in found


def test_a_set_that_cannot_be_had_ends_with_three_ways_out(monkeypatch):
    """The real loading code, against a hub that cannot be reached."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = data.problems(DataSettings(dataset="nobody/no-such-set"), TEXT, 0)
    assert len(found) == 1
    for way in ("hf auth login", "name a local folder", "leave dataset at its default"):
        assert way in found[0]


def test_a_name_is_refused_before_a_run_where_there_is_no_way_to_the_hub(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "h"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "d"))
    for name in ("reveiws", "NYU/my-glue"):
        assert "cannot be reached, and its cache" in places.absent(name)
        assert "log in if it is gated" in models.absent(name)
    (tmp_path / "d" / "nyu___my-glue").mkdir(parents=True)
    (tmp_path / "h" / "datasets--reveiws").mkdir(parents=True)
    for name in ("reveiws", "NYU/my-glue"):
        assert places.absent(name) == "", "the cache may have it"
    (tmp_path / "h" / "models--reveiws").mkdir()
    assert models.absent("reveiws") == ""
    assert "no such folder" in models.absent("./reveiws")


def test_a_torn_file_is_an_error_of_the_data_set(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"text": "b"')
    (found,) = data.problems(settings(tmp_path), TEXT, 0)
    assert found.startswith(f"dataset = '{tmp_path}': the folder cannot be read")
