"""Data as people have it: one file or folder, no test split, labels of every kind."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset

from ilora_app.settings import DataSettings
from ilora_app.settings.model import IMAGE, TEXT
from ilora_app.tasks import data, sources
from ilora_app.tasks.labels import label_names, one_sided
from ilora_app.tasks.sources import DataError
from tests import own_files


def found(place: Path, task: str = TEXT, **changes) -> DataSettings:
    """Settings with the columns by name, of data that nothing is wrong with."""
    named = DataSettings(dataset=str(place), **changes)
    assert data.problems(named, task, 0) == []
    return data.resolve_columns(named, task, 0)


def rows_of(settings: DataSettings, seed: int = 0) -> tuple[Dataset, Dataset]:
    train, test = settings.train_split, settings.test_split
    return sources.split(settings, train, seed), sources.split(settings, test, seed)


@pytest.mark.parametrize(
    "form", ["csv", "semicolon", "tsv", "jsonl", "parquet", "xlsx", "folder", "texts"]
)
def test_one_file_or_folder_of_every_form_gives_the_same_rows(tmp_path, form):
    rows = own_files.tickets()
    if form == "texts":
        place = own_files.texts_by_class(tmp_path / "tickets", rows)
    elif form == "folder":
        place = own_files.write(tmp_path, "semicolon", rows).parent
    else:
        place = own_files.write(tmp_path, form, rows)
    settings = found(place)
    assert settings.text_columns.casefold() == "text"
    assert label_names(settings, 0) == ("defect", "delivery", "praise")
    train, test = rows_of(settings)
    assert (len(train), len(test)) == (80, 20)
    texts = [*train[settings.text_columns], *test[settings.text_columns]]
    assert sorted(texts) == sorted(row["Text"] for row in rows)
    guesses = [note for note in sources.notes(settings, 0) if "a guess" in note]
    assert len(guesses) == (form in ("semicolon", "folder", "texts"))
    node = data.own_partition(data.resolve_own_columns(settings, TEXT, 0), 0)
    assert len(node.train) + len(node.held_out) == 100, "a node keeps all of its rows"


def test_a_test_split_is_held_out_by_class_and_seed_and_the_run_says_so(tmp_path):
    rows = [*own_files.tickets(), {"Text": "once", "Label": "rare"}]
    settings = found(own_files.write(tmp_path, "csv", rows), test_fraction=0.25)
    train, test = rows_of(settings)
    assert Counter(test["Label"]) == {"defect": 10, "delivery": 10, "praise": 5}
    assert not set(train["Text"]) & set(test["Text"])
    assert "rare" in train["Label"]
    other = rows_of(settings, seed=1)[1]
    assert set(other["Text"]) != set(test["Text"])
    sources.split.cache_clear()
    assert rows_of(settings)[1]["Text"] == test["Text"]
    (note,) = sources.notes(settings, 0)
    assert "25 of 101 rows are held out" in note
    assert "every class of Label, seed 0" in note


def test_parts_of_a_split_and_rows_on_both_sides(tmp_path):
    file = own_files.write(tmp_path, "csv", own_files.tickets())
    settings = found(file, train_split="train[:80%]", test_split="train[80%:]")
    train, test = rows_of(settings)
    cases = [int(text.rpartition(" ")[2]) for text in train["Text"]]
    assert sorted(cases) == list(range(80))
    assert (len(train), len(test)) == (80, 20)
    for train_split, test_split, common in (
        ("train", "train", 100), ("train[:80%]", "train[70%:]", 10),
    ):  # fmt: skip
        splits = {"train_split": train_split, "test_split": test_split}
        both = DataSettings(dataset=str(file), **splits)
        (problem,) = data.problems(both, TEXT, 0)
        assert f"{common} of its rows are those of train-split" in problem
    wrong = DataSettings(dataset=str(file), test_split="train[80")
    (problem,) = data.problems(wrong, TEXT, 0)
    assert problem.startswith("test-split = 'train[80': ")
    none = DataSettings(dataset=str(file), test_fraction=0.0)
    (problem,) = data.problems(none, TEXT, 0)
    assert problem.startswith("test-split = 'test': ")


def labelled(folder: Path, values: list[object], form: str = "csv") -> DataSettings:
    rows = [{"text": f"row {i}", "label": v} for i, v in enumerate(values)]
    return found(own_files.write(folder, form, rows), drop_unlabelled=False)


def test_minus_one_is_a_class_and_a_gap_is_none(tmp_path):
    assert label_names(labelled(tmp_path, [-1, 0, 1] * 20), 0) == ("-1", "0", "1")
    gaps = labelled(tmp_path, [0, 1, None] * 20, "parquet")
    with pytest.raises(DataError, match="drop-unlabelled = true leaves them out"):
        label_names(gaps, 0)
    dropped = found(Path(gaps.dataset), drop_unlabelled=True)
    assert label_names(dropped, 0) == ("0", "1"), "a gap makes no 1.0 of a 1"
    assert sum(map(len, rows_of(dropped))) == 40
    assert any("20 of 60 rows" in note for note in sources.notes(dropped, 0))
    own = data.resolve_own_columns(dropped, TEXT, 0)
    assert len(sources.only_split(own, 0)) == 40
    lists = labelled(tmp_path, [["a", "b"], ["a"]] * 20, "jsonl")
    with pytest.raises(DataError, match="multi-label"):
        label_names(lists, 0)


def test_a_class_that_is_only_tested_is_named_and_a_split_of_minus_ones_has_none(
    tmp_path,
):
    def write(name: str, labels: list[int]) -> None:
        lines = [json.dumps({"text": f"row {n}", "label": n}) for n in labels]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))

    write("train", [0, 1] * 10)
    write("test", [0, 2] * 10)
    assert one_sided(found(tmp_path), 0) == (["1"], ["2"])
    blind = tmp_path / "blind"
    blind.mkdir()
    (blind / "train.jsonl").write_text((tmp_path / "train.jsonl").read_text())
    write("blind/test", [-1] * 10)
    with pytest.raises(DataError, match="10 of 10 rows of the split test carry no"):
        label_names(found(blind), 0)


def test_a_folder_of_images_without_a_test_split(tmp_path):
    whole = own_files.images_by_class(tmp_path / "whole", torn=0)
    settings = found(whole, IMAGE)
    assert label_names(settings, 0) == ("cat", "dog")
    assert Counter(rows_of(settings)[1]["label"]) == {0: 4, 1: 4}
    as_texts = data.problems(DataSettings(dataset=str(whole)), TEXT, 0)
    assert "images want task = 'image-classification'" in as_texts[0]


@pytest.mark.parametrize("name", ["revews.csv", "my data/x", "./no/such", "a.txt"])
def test_a_name_of_nothing_ends_the_command_before_anything_is_loaded(tmp_path, name):
    (tmp_path / "reviews.csv").write_text("text,label\n")
    (tmp_path / "a.txt").write_text("no table")
    code = (
        "import sys\nfrom ilora_app.cli import app\n"
        f"try:\n    app(['run', '--dataset', {name!r}])\n"
        "except SystemExit as end:\n"
        "    heavy = {'torch', 'ray', 'transformers', 'datasets'} & set(sys.modules)\n"
        "    print(end.code, heavy or 'light')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "light"], done.stderr
    assert f"dataset = {name!r}: " in done.stderr
    assert ("did you mean reviews.csv" in done.stderr) == (name == "revews.csv")
