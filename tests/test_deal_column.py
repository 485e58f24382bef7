"""The column that a deal goes by: rows without a value, lists, mixed values."""

import json

import pytest
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import LANGUAGE, TEXT
from ilora_app.tasks import data, partitions
from ilora_app.tasks.sources import DataError

EMPTY = "of 48 rows have nothing there"


def file_of(folder, values: list) -> str:
    rows = [
        {"question": f"what is {i}", "answer": "x", "topic": values[i % len(values)]}
        for i in range(60)
    ]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def refused(settings: DataSettings, *said: str) -> None:
    """The problem is told before a run, and so by every node that deals."""
    (problem,) = data.problems(settings, LANGUAGE, 0)
    found = data.resolve_columns(settings, LANGUAGE, 0)
    with pytest.raises(DataError) as told:
        partitions.load(found, 0, 3, 0)
    assert str(told.value) == problem
    assert problem.startswith("partition-by = 'topic': ")
    assert all(one in problem for one in said)
    assert "topic" not in told.value.told
    with pytest.raises(DataError, match="partition-by"):
        partitions.class_counts(found, 3, 0)


@pytest.mark.parametrize("name", ["auto", "dirichlet", "pathological", "natural-id"])
def test_rows_without_a_value_are_counted_with_what_would_be_right(tmp_path, name):
    place = file_of(tmp_path, ["a", "b", None, "c", "a"])
    by = {} if name != "natural-id" else {"partition_by": "topic"}
    settings = DataSettings(dataset=place, partitioner=name, **by)
    refused(settings, EMPTY, "drop-unlabelled = true, which leaves", "= 'iid'")
    for changes in ({"drop_unlabelled": True}, {"partitioner": "iid"}):
        right = DataSettings(dataset=place, min_partition_size=1, **changes)
        assert data.problems(right, LANGUAGE, 0) == []
        found = data.resolve_columns(right, LANGUAGE, 0)
        assert len(partitions.load(found, 0, 2, 0)) > 0


@pytest.mark.parametrize("values", [[["a"], ["b", "c"]], ["a", 1]])
@pytest.mark.parametrize("name", ["dirichlet", "shard", "natural-id"])
def test_lists_and_mixed_values_are_refused(tmp_path, name, values):
    place = file_of(tmp_path, values)
    settings = DataSettings(dataset=place, partitioner=name, partition_by="topic")
    refused(settings, f"the partitioner {name} goes by one text or number a row")


def test_rows_are_those_of_the_run(tmp_path):
    """A regression leaves rows without a number out, and none without a category."""
    file = tmp_path / "rows.csv"
    lines = [f"w {i},{i / 8},{'ab'[i % 2] if i % 5 else ''}\n" for i in range(40)]
    file.write_text("text,score,category\n" + "".join(lines))
    by = {"partition_by": "category", "drop_unlabelled": True}
    settings = DataSettings(dataset=str(file), **by)
    (said,) = data.problems(settings, "regression", 0)
    assert "of 32 rows have nothing there" in said
    assert "drop-unlabelled" not in said


def test_shards_take_rows_without_a_value(tmp_path):
    place = file_of(tmp_path, ["a", "b", None])
    settings = DataSettings(dataset=place, partitioner="shard", shards_per_partition=1)
    assert data.problems(settings, LANGUAGE, 0) == []
    found = data.resolve_columns(settings, LANGUAGE, 0)
    assert sum(len(partitions.load(found, i, 3, 0)) for i in range(3)) == 48


def test_rows_without_a_class_are_still_told_by_the_label(tmp_path):
    place = file_of(tmp_path, ["a", "b", None])
    settings = DataSettings(dataset=place)
    assert data.problems(settings, TEXT, 0) == []


@pytest.mark.parametrize("values", [["a", None], [["a"]], ["a", 1]])
def test_check_ends_with_the_problem(tmp_path, values):
    words = ["check", file_of(tmp_path, values), "--task", LANGUAGE, "--json"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 1, found.output
    (problem,) = json.loads(found.stdout)["problems"]
    assert problem.startswith("partition-by = 'topic': ")
