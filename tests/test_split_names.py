"""Classes, folders and files whose names are words for splits."""

from pathlib import Path

import datasets
import pytest
from PIL import Image

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import IMAGE
from ilora_app.tasks import data, sources, split_names
from ilora_app.tasks.labels import label_names
from ilora_app.tasks.sources import DataError


def images(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    for i in range(number):
        Image.new("RGB", (8, 8)).save(folder / f"{i}.png")


def where(settings: DataSettings, split: str) -> set[str]:
    rows = sources.split(settings, split, 0)
    files = rows.cast_column("image", datasets.Image(decode=False))["image"]
    named = rows.features["label"].names
    found = [Path(file["path"]).parent for file in files]
    assert [named[i] for i in rows["label"]] == [folder.name for folder in found]
    return {str(folder.relative_to(settings.dataset)) for folder in found}


def test_a_class_named_as_a_split_is_in_its_own_split_alone(tmp_path):
    for split, number in (("Train", 4), ("testing", 2)):
        for name in ("test", "train", "val"):
            images(tmp_path / split / name, number)
    settings = DataSettings(dataset=str(tmp_path))
    assert data.problems(settings, IMAGE, 0) == []
    trained, tested = (where(settings, split) for split in ("train", "test"))
    assert trained == {"Train/test", "Train/train", "Train/val"}
    assert tested == {"testing/test", "testing/train", "testing/val"}


@pytest.mark.parametrize("names", [("train", "car"), ("test", "control"), ("a-test",)])
def test_classes_without_splits_are_all_there(tmp_path, names):
    for name in (*names, "other"):
        images(tmp_path / name, 10)
    settings = DataSettings(dataset=str(tmp_path), label_column="label")
    assert data.problems(settings, IMAGE, 0) == []
    assert label_names(settings, 0) == tuple(sorted((*names, "other")))
    assert len(sources.split(settings, "train", 0)) == 8 * (len(names) + 1)


def test_a_node_may_have_images_of_one_class(tmp_path):
    images(tmp_path / "benign", 3)
    rows = sources.only_split(DataSettings(dataset=str(tmp_path)), 0)
    assert rows.features["label"].names == ["benign"]


def test_images_that_are_not_by_class_are_as_datasets_has_them(tmp_path):
    for name in ("train", "test"):
        images(tmp_path / "splits" / name, 3)
        images(tmp_path / "hospitals" / "one" / name.upper(), 3)
    rows = sources.split(DataSettings(dataset=str(tmp_path / "splits")), "test", 0)
    assert len(rows) == 3
    settings = DataSettings(dataset=str(tmp_path / "hospitals"), label_column="label")
    assert label_names(settings, 0) == ("TEST", "TRAIN")


def test_a_file_that_would_be_in_two_splits_is_refused(tmp_path):
    for name in ("train/test", "train/control", "test/test", "test/control"):
        images(tmp_path / "all" / name, 2)
    settings = DataSettings(dataset=str(tmp_path))
    with pytest.raises(DataError, match="by its name, as are 2 in all") as told:
        sources.split(settings, "train", 0)
    assert "test/0.png is a file of the splits train and test" in str(told.value)
    (tmp_path / "all" / "train" / "test").rename(tmp_path / "all" / "train" / "tested")
    split_names.check(tmp_path)


def table(file: Path, rows: int = 5) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("text,label\n" + "hello,a\n" * rows)


@pytest.mark.parametrize(
    ("names", "unread"),
    [
        (["blood_test.csv", "january.csv", "february.csv"], "february.csv, january"),
        (["train.csv", "more.csv"], "more.csv"),
        (["train/one.csv", "test.csv"], "test.csv"),
        (["train.csv", "more.tsv"], "more.tsv"),
        (["a_val.jsonl", "b.parquet"], "b.parquet"),
        (["train.csv", *(f"{i}.csv" for i in range(9))], "0.csv, 1.csv, 2.csv, 3.csv"),
    ],
)
def test_files_in_no_split_beside_files_in_one_are_refused(tmp_path, names, unread):
    for name in names:
        table(tmp_path / name)
    own = DataSettings(dataset=str(tmp_path))
    for load in (lambda: sources.only_split(own, 0), lambda: sources.notes(own, 0)):
        with pytest.raises(DataError, match="would be read into no split") as told:
            load()
        assert f": {unread}" in str(told.value)
        assert names[0] in str(told.value)
        assert names[0] not in told.value.told


@pytest.mark.parametrize(
    "names",
    [
        ["train.csv", "test.csv", "README.md", ".hidden.csv"],
        ["train.csv", "notes.txt"],
        ["january.csv", "february.csv"],
        ["train/one.csv", "test/two.csv"],
    ],
)
def test_files_that_all_have_a_split_or_none_are_read(tmp_path, names):
    for name in names:
        table(tmp_path / name)
    tables = [name for name in names if name.endswith(".csv") and name[0] != "."]
    loaded = sources._opened(str(tmp_path), "")
    assert sum(map(len, loaded.values())) == 5 * len(tables)


def test_what_stands_beside_data_without_being_data_is_no_stray(tmp_path):
    row = '{"text": "hello", "label": "a"}\n'
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).write_text(row)
    for name in ("config.json", "notes.txt", "LICENSE"):
        (tmp_path / name).write_text("{}")
    split_names.check(tmp_path)
    for split in ("train", "test"):
        images(tmp_path / "images" / split / "cat", 1)
    (tmp_path / "images" / "metadata.csv").write_text("file_name,label\n")
    split_names.check(tmp_path / "images")


@pytest.mark.parametrize("other", ["b.jsonl", "deep/b.parquet"])
def test_tables_of_several_kinds_are_refused(tmp_path, other):
    """One kind of them alone would be read."""
    table(tmp_path / "a.csv")
    (tmp_path / "notes.txt").write_text("of the clinic")
    rows = datasets.Dataset.from_dict({"text": ["a"] * 5, "label": ["x"] * 5})
    (tmp_path / other).parent.mkdir(exist_ok=True)
    write = rows.to_json if other.endswith("jsonl") else rows.to_parquet
    write(tmp_path / other)
    with pytest.raises(DataError, match="would read one kind alone") as told:
        sources.only_split(DataSettings(dataset=str(tmp_path)), 0)
    assert f"of a.csv and {other} datasets" in str(told.value)
    assert "a.csv" not in told.value.told
    images(tmp_path / "slides", 2)
    split_names.check(tmp_path)
