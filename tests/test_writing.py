"""Files are there whole, and names of new folders as what is written into them is."""

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

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


def test_of_two_who_write_a_file_each_writes_all_of_it(tmp_path):
    file = tmp_path / "page.html"

    def write(sign: str) -> None:
        for _ in range(200):
            writing.whole(file, sign * 20_000)
            text = file.read_text()
            assert text in ("a" * 20_000, "b" * 20_000)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, "ab"))
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_writer_left_goes_and_what_one_is_writing_stays(tmp_path):
    for name in (".page.html.tmp", ".page.html-0.tmp", ".page.html-1.tmp", ".a.tmp"):
        (tmp_path / name).write_text("half")
    day_ago = time.time() - 86_400
    for name in (".page.html-0.tmp", ".a.tmp"):
        os.utime(tmp_path / name, (day_ago, day_ago))
    writing.whole(tmp_path / "page.html", "new")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"page.html", ".page.html-1.tmp", ".a.tmp"}
