"""What is kept of rows that were read from files is nobody else's to read."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ilora_app.tasks import datasets_cache

SECRET = "a text that nobody else may read"
ROW = '{"text": "%s %d", "label": "a"}'
LOAD = """import os, sys
os.umask(0o022)
from ilora_app.settings import DataSettings
from ilora_app.tasks import sources
print(len(sources.only_split(DataSettings(dataset=sys.argv[1]), 0)))
"""


def mode(place: Path) -> int:
    return stat.S_IMODE(place.stat().st_mode)


def written(place: Path, kind: str) -> Path:
    """A file, or a folder of them, with rows."""
    place.mkdir()
    if kind == "csv":
        (place / "train.csv").write_text(f"text,label\n{SECRET},a\n{SECRET},b\n")
        return place
    lines = "\n".join(ROW % (SECRET, n) for n in range(2))
    (place / "train.jsonl").write_text(lines + "\n")
    return place / "train.jsonl" if kind == "file" else place


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "file", "folder"])
def test_rows_of_files_are_kept_for_their_user_alone(tmp_path, kind):
    home = tmp_path / "home"
    words = [sys.executable, "-c", LOAD, str(written(tmp_path / "data", kind))]
    environment = os.environ | {"HF_HOME": str(home)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.stdout == "2\n", done.stderr
    holds = [f for f in home.rglob("*") if f.is_file() and SECRET in _text(f)]
    assert holds
    own = home / "datasets" / f"ilora-{os.getuid()}"
    assert mode(own) == 0o700
    assert all(file.is_relative_to(own) for file in holds)


def _text(file: Path) -> str:
    return file.read_bytes().decode(errors="replace")


def test_a_folder_that_is_somebody_elses_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    found = datasets_cache.folder()
    assert found == str(tmp_path / f"ilora-{os.getuid()}")
    Path(found).chmod(0o755)
    assert mode(Path(datasets_cache.folder())) == 0o700
    Path(found).rmdir()
    (tmp_path / "elsewhere").mkdir()
    Path(found).symlink_to(tmp_path / "elsewhere")
    assert datasets_cache.folder() is None
    Path(found).unlink()
    Path(found).touch()
    assert datasets_cache.folder() is None
