"""Waiting for nodes: in full once, and not again for those that do not come back."""

import pytest

from ilora_app.federation import waiting
from ilora_app.federation.waiting import FederationError, Patience, wait


class Nodes:
    """Who is connected; a clock that every look moves on by a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *there: int) -> None:
        self.there, self.now, self.looks = list(there), 0.0, 0
        monkeypatch.setattr(waiting.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(waiting.time, "sleep", lambda _: None)

    def get_node_ids(self) -> list[int]:
        self.now += 1
        self.looks += 1
        return self.there


def test_too_few_nodes_are_told_with_numbers(monkeypatch):
    grid = Nodes(monkeypatch, 7)
    with pytest.raises(FederationError, match=r"1 nodes .* 9 s, .* asks for 2"):
        wait(grid, 2, 9)


def test_who_does_not_come_back_is_waited_for_in_full_once(monkeypatch, caplog):
    grid, patience = Nodes(monkeypatch, 7), Patience()
    patience.wait(grid, 2, 3600)
    assert grid.looks == 3601
    patience.wait(grid, 2, 3600)
    assert grid.looks == 3601 + 61
    patience.wait(grid, 2, 10)
    assert grid.looks == 3601 + 61 + 11
    assert caplog.text.count("going on with those") == 3
    grid.there = [7, 8]
    patience.wait(grid, 2, 3600)  # enough again: the next loss is waited for
    grid.there, grid.looks = [7], 0
    patience.wait(grid, 2, 3600)
    assert grid.looks == 3601
