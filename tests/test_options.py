"""Names of folders as people write them."""

from pathlib import Path

import pytest

from ilora_app.settings import options
from ilora_app.tasks import sources


def test_variables_and_the_home_folder_are_filled_in(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("SHARED", "~/shared")
    assert options.folder("$SHARED/set") == Path("/home/somebody/shared/set")
    assert options.folder("${SHARED}") == Path("/home/somebody/shared")


def test_what_is_not_known_stays(monkeypatch):
    monkeypatch.delenv("SHARED", raising=False)
    assert options.folder("$SHARED/set") == Path("$SHARED/set")
    assert options.folder("~no-such-user/x") == Path("~no-such-user/x")


def test_a_data_set_can_be_named_by_a_variable(monkeypatch, small_data):
    monkeypatch.setenv("SHARED", str(Path(small_data).parent))
    assert sources.resolve(f"$SHARED/{Path(small_data).name}") == small_data
    monkeypatch.delenv("SHARED")
    with pytest.raises(sources.DataError, match="there is no such folder"):
        sources.resolve("$SHARED/x")
