"""Lists that a csv holds as texts, and lists with nothing in a place."""

import datasets
import pandas
import pytest

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import MULTI_LABEL, TAGS
from ilora_app.tasks import data, label_lists, labelling, written_lists
from ilora_app.tasks.sources import DataError


@pytest.mark.parametrize(
    ("task", "columns", "names"),
    [
        (MULTI_LABEL, {"text": ["w"], "labels": [["it's", "b, c"], ["d"], []]}, 3),
        (MULTI_LABEL, {"text": ["w"], "labels": [[10, 9], [2]]}, 3),
        (TAGS, {"tokens": [["EU", 'the "x"']], "ner_tags": [["B-ORG", "O"]]}, 2),
        (TAGS, {"tokens": [["in", "7"]], "ner_tags": [[3, 0]]}, 2),
    ],
)
def test_what_pandas_wrote_is_what_is_read(tmp_path, task, columns, names):
    rows = [
        {name: values[i % len(values)] for name, values in columns.items()}
        for i in range(30)
    ]
    pandas.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    settings = DataSettings(dataset=str(tmp_path / "a.csv"))
    settings = data.resolve_columns(settings, task, 0)
    expected = {str(one) for row in rows for one in row[settings.label_column]}
    found = labelling.names_of(settings, task, 0)
    assert set(found) == expected
    assert len(found) == names
    held = data.split(settings, "test", 0)
    for column in columns.keys() - {"text"}:
        seen = {tuple(v) for v in label_lists.values(held, column, str.split)}
        assert seen == {tuple(map(str, row[column])) for row in rows}


@pytest.mark.parametrize(
    ("texts", "other"),
    [
        (["['a' 'b']"], "['a' 'b']"),
        (["['a']", "", "['b', None]"], "['b', None]"),
        (["['a']", "b; c"], "b; c"),
        (["[3 0 7]"], "[3 0 7]"),
        (["['a']", "[['b']]"], "[['b']]"),
    ],
)
def test_what_is_a_list_in_part_is_refused(texts, other):
    with pytest.raises(DataError, match="some of its texts are lists") as told:
        written_lists.read(texts, "labels")
    assert f"and {other!r} is none" in str(told.value)
    assert "labels" not in told.value.told


@pytest.mark.parametrize("texts", [["a; b", "[c]"], ["see [1]", "[1]"], ["", " "]])
def test_other_texts_stay_as_they_are(texts):
    assert written_lists.read(texts, "text") == {}


def test_nothing_in_a_list_is_no_class_of_that_name():
    rows = datasets.Dataset.from_list([{"label": ["a"]}, {"label": ["b", None]}])
    with pytest.raises(DataError, match=r"found \['b', None\]; take what is null out"):
        label_lists.values(rows, "label", label_lists.classes_in)
