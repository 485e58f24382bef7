"""Nothing in a run folder that came from elsewhere is written through a link."""

import json

import pytest

from ilora_app.report import membership
from ilora_app.runs import lock
from ilora_app.runs.writing import Journal, whole


@pytest.fixture
def victim(tmp_path):
    file = tmp_path / "victim.txt"
    file.write_text("precious")
    return file


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "run"
    made.mkdir()
    return made


def test_a_file_that_is_written_whole(folder, victim):
    (folder / ".page.html.tmp").symlink_to(victim)
    (folder / "page.html").symlink_to(victim)
    whole(folder / "page.html", "new")
    assert victim.read_text() == "precious"
    assert (folder / "page.html").read_text() == "new"
    assert not (folder / "page.html").is_symlink()
    assert [file.name for file in folder.iterdir()] == ["page.html"]


def test_a_lock(folder, victim):
    (folder / lock.FILE).symlink_to(victim)
    with pytest.raises(OSError, match=r"\.lock"):
        lock.hold(folder)
    assert victim.read_text() == "precious"


def test_a_journal(folder, victim, caplog):
    (folder / "events.jsonl").symlink_to(victim)
    Journal(folder / "events.jsonl").append(json.dumps({"event": "erased"}))
    assert victim.read_text() == "precious"
    assert "events.jsonl cannot be written" in caplog.text


def test_a_picture(folder, victim):
    (folder / "membership.png").symlink_to(victim)
    test = {
        "members": 10,
        "non_members": 10,
        "auc": 0.5,
        "auc_interval": (0.4, 0.6),
        "roc": {"fpr": [0.0, 0.5, 1.0], "tpr": [0.0, 0.5, 1.0]},
    }
    membership.draw(test, folder / "membership.png")
    assert victim.read_text() == "precious"
    assert (folder / "membership.png").read_bytes().startswith(b"\x89PNG")
