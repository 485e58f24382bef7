"""Which rows a membership test is over, as they are named, and as a page says."""

import json

import pytest

from ilora_app.audit import rows
from ilora_app.report import membership
from ilora_app.settings import DataSettings
from tests.page import Page

TASK = "text-classification"
TESTED = {
    "model": "last", "round": 3, "members": 60, "non_members": 300, "fpr": 0.01,
    "auc": 0.7, "auc_interval": [0.6, 0.8], "tpr": 0.1, "tpr_interval": [0.0, 0.2],
    "roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]},
}  # fmt: skip


def table(*texts: str) -> str:
    return "\n".join(["text,label", *(f"{text},a" for text in texts), ""])


@pytest.mark.parametrize("name", ["me@corp/own.csv", "own@home.csv", "own@train.csv"])
def test_an_at_in_a_name_is_no_split(tmp_path, name):
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(table("one", "two"))
    found, asked = rows.named(DataSettings(), TASK, str(place), 0)
    assert asked.dataset == str(place)
    assert sorted(found["text"]) == ["one", "two"]


def test_a_split_is_named_behind_a_folder_with_an_at(tmp_path):
    place = tmp_path / "me@corp"
    place.mkdir()
    for name, text in (("train", "one"), ("test", "two")):
        (place / f"{name}.csv").write_text(table(text, "both"))
    found, _ = rows.named(DataSettings(), TASK, f"{place}@test", 0)
    assert sorted(found["text"]) == ["both", "two"]


def test_a_page_says_which_rows_were_tested(tmp_path):
    """Those of a file are not those of the run whose page it is."""
    data = ["/data/mine<b>.csv", "/data/others.csv"]
    text = json.dumps(TESTED | {"data": data})
    (tmp_path / "membership.json").write_text(text)
    page = Page(membership.shown(membership.tested(tmp_path)))
    assert page.row("members")[1] == f"60: {data[0]}"
    assert page.row("non-members")[1] == f"300: {data[1]}"
    for wrong in ([1, 2], ["one"], None):
        text = json.dumps(TESTED | {"data": wrong})
        (tmp_path / "membership.json").write_text(text)
        assert membership.tested(tmp_path) is None
