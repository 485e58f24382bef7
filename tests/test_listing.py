"""Files that Windows leaves in folders are no data."""

from pathlib import Path

import pytest
from PIL import Image

from ilora_app.settings import DataSettings
from ilora_app.tasks import sources

LEFT = ("Thumbs.db", "desktop.ini", "sub/THUMBS.DB")


def leave(folder: Path) -> DataSettings:
    for name in LEFT:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\xd0\xcf\x11\xe0,\x00\n" * 9)
    return DataSettings(dataset=str(folder))


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_beside_tables(tmp_path, name):
    sign = "," if name.endswith("csv") else "\t"
    rows = [("text", "label"), ("a", "007"), ("b", "008")]
    (tmp_path / name).write_text("".join(sign.join(row) + "\n" for row in rows))
    found = sources.only_split(leave(tmp_path), 0)
    assert sorted(found["label"]) == ["007", "008"]


def test_beside_images_of_one_class(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "cat" / "1.png")
    found = sources.only_split(leave(tmp_path), 0)
    assert found.features["label"].names == ["cat"]
