"""Names of classes where a column mixes numbers and texts."""

import json

import pandas
import pytest
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.settings import DataSettings
from ilora_app.tasks.labels import label_names
from ilora_app.tasks.sources import DataError
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
