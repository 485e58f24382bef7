"""Names of new folders are on the disk as what is written into them is."""

import stat

from ilora_app.runs import writing


def test_each_folder_that_is_made_has_its_name_flushed(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(writing, "flush", flushed.append)
    folder = tmp_path / "run" / "node"
    writing.make_flushed(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(flushed) == [tmp_path, tmp_path / "run"]
    writing.make_flushed(folder)
    assert len(flushed) == 2  # none is new
