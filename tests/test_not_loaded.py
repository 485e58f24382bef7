"""What is said of a folder or a file that cannot be read."""

import pytest

from ilora_app.settings import DataSettings
from ilora_app.tasks import sources
from ilora_app.tasks.sources import DataError

ROWS = {".csv": "text,label\na,b\n", ".jsonl": '{"text": "a", "label": "b"}\n'}


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.json"])
def test_a_file_without_a_byte_is_named(tmp_path, name):
    file = tmp_path / name
    file.touch()
    for place in (tmp_path, file):
        with pytest.raises(DataError, match=f"{name} is empty; expected rows in it"):
            sources.only_split(DataSettings(dataset=str(place)), 0)


@pytest.mark.parametrize("end", [".csv", ".jsonl"])
def test_files_of_several_kinds_are_named(tmp_path, end):
    (tmp_path / f"patients{end}").write_text(ROWS[end])
    (tmp_path / f"patients{end}.bak").write_text("no rows\n")
    with pytest.raises(DataError, match="the folder cannot be read") as told:
        sources.only_split(DataSettings(dataset=str(tmp_path)), 0)
    both = f"of 2 kinds, such as patients{end} and patients{end}.bak; expected"
    assert both in str(told.value)
    assert "patients" not in told.value.told


def test_files_of_one_kind_are_not_said_to_be_of_several(tmp_path):
    (tmp_path / "a.csv").write_text(ROWS[".csv"])
    (tmp_path / "b.csv").write_text("note,class,ward\na,b,c\n")
    with pytest.raises(DataError, match="all with the same columns") as told:
        sources.only_split(DataSettings(dataset=str(tmp_path)), 0)
    assert "kinds" not in str(told.value)
