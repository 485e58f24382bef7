"""Names of classes where a column mixes numbers and texts."""

import json
from pathlib import Path

import pandas
import pytest
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.settings import DataSettings
from ilora_app.tasks.labels import label_ids, label_names
from ilora_app.tasks.sources import DataError, only_split
from ilora_app.tasks.splits import class_name
from tests import media


def test_numbers_and_texts_in_one_column_are_refused(tmp_path):
    rows = [{"text": f"w {i}", "label": ("spam", 7)[i % 2]} for i in range(40)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = DataSettings(dataset=str(file), label_column="label")
    with pytest.raises(DataError, match="expected text or whole numbers") as told:
        label_names(settings, 0)
    assert "'spam'" in str(told.value)
    assert "7" in str(told.value)
    assert "spam" not in told.value.told
    seen = CliRunner().invoke(app, ["check", str(file), "--json", "--no-probe"])
    assert seen.exit_code == 1, seen.output
    assert json.loads(seen.stdout)["problems"] == [str(told.value)]


def test_numbers_in_one_split_alone_are_names_too(tmp_path):
    """Tables beside images are read one by one, each with types of its own."""
    frame = pandas.read_parquet(media.posts(tmp_path, 6))
    (tmp_path / "posts.parquet").unlink()
    for name, labels in (("train", ["1", "x", "2"]), ("test", [1, 2, 2])):
        frame.assign(label=labels * 2).to_csv(tmp_path / f"{name}.csv", index=False)
    settings = DataSettings(dataset=str(tmp_path), label_column="label")
    assert label_names(settings, 0) == ("1", "2", "x")


def table(file: Path, *values: object) -> DataSettings:
    """Ten rows of each value: in a csv as it is written, in a jsonl by its type."""
    rows = [{"text": f"w {i}", "label": value} for value in values for i in range(10)]
    if file.suffix == ".csv":
        pandas.DataFrame(rows).to_csv(file, index=False)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSettings(dataset=str(file), label_column="label")


@pytest.mark.parametrize(
    ("server", "names"),
    [
        (("x.csv", "false", "true"), ("false", "true")),
        (("x.csv", "False", "True"), ("false", "true")),
        (("x.jsonl", False, True), ("false", "true")),
        (("x.csv", "false", "true", "unknown"), ("false", "true", "unknown")),
        (("x.csv", "FALSE", "TRUE", "Unknown"), ("FALSE", "TRUE", "Unknown")),
    ],
)
@pytest.mark.parametrize(
    "node",
    [
        ("y.csv", "true", "false"),
        ("y.csv", "TRUE", "FALSE"),
        ("y.jsonl", True, False),
        ("y.jsonl", "True", "False"),
    ],
)
def test_true_and_false_are_the_same_classes_however_written(
    tmp_path, server, names, node
):
    assert label_names(table(tmp_path / server[0], *server[1:]), 0) == names
    rows = only_split(table(tmp_path / node[0], *node[1:]), 0)
    found = label_ids(rows["label"][:], rows.features["label"], names)
    wanted = [str(value).casefold() == "true" for value in rows["label"]]
    assert found == list(map(int, wanted))


def test_true_and_false_of_one_split_are_those_of_the_other(tmp_path):
    frame = pandas.read_parquet(media.posts(tmp_path, 6))
    (tmp_path / "posts.parquet").unlink()
    for name, labels in (("train", ["true", "x", "false"]), ("test", ["true"] * 3)):
        frame.assign(label=labels * 2).to_csv(tmp_path / f"{name}.csv", index=False)
    settings = DataSettings(dataset=str(tmp_path), label_column="label")
    assert set(label_names(settings, 0)) == {"false", "true", "x"}


def test_names_that_differ_by_case_alone_are_told_apart():
    assert class_name(True, ("True", "true")) == "true"
    assert class_name("TRUE", ("True", "true")) == "TRUE"
    assert class_name("Yes", ("yes",)) == "Yes"
