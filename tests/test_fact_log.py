"""Facts of checkpoints: what has changed is added, and each checkpoint has its own."""

import json

import pytest

from ilora_app.runs import fact_log, store
from ilora_app.runs.checkpoint import Checkpoint, Checkpoints
from ilora_app.runs.fact_log import FactLog
from ilora_app.runs.store import TornError

ROUNDS = [
    {"step": 0, "members": {"1": {"rank": 4}, "2": {"rank": 2}}, "time": {"a": [1]}},
    {"step": 1, "members": {"1": {"rank": 2}, "2": {"rank": 2}}, "time": {"a": [1]}},
    {"step": 2, "members": {"2": {"rank": 2}, "ä": {}}, "more": None},
    {"step": 2, "members": {"2": {"rank": 2}, "ä": {}}, "more": None},
]


def written(folder, rounds=ROUNDS) -> list[dict]:
    log = FactLog(folder)
    return [log.write(facts) for facts in rounds]


def test_every_mark_has_the_facts_of_its_time(tmp_path):
    marks = written(tmp_path)
    assert [fact_log.read(tmp_path, mark) for mark in marks] == ROUNDS
    lines = (tmp_path / fact_log.FILE).read_text("utf-8").splitlines()
    path = ["members", "1", "rank"]
    assert json.loads(lines[1])["set"] == [[["step"], 1], [path, 2]]
    assert json.loads(lines[3]) == {"set": [], "drop": []}


def test_what_is_changed_in_place_is_a_change(tmp_path):
    log, facts = FactLog(tmp_path), {"held": {"a": 1}, "list": [1]}
    log.write(facts)
    facts["held"]["a"] = 2
    facts["list"].append(2)
    assert fact_log.read(tmp_path, log.write(facts)) == facts


@pytest.mark.parametrize("left", ["", "half a line", '{"set": [], "drop"'])
def test_another_process_goes_on_behind_what_a_crash_has_left(tmp_path, left):
    first = written(tmp_path, ROUNDS[:2])
    with (tmp_path / fact_log.FILE).open("a") as file:
        file.write(left)
    second = written(tmp_path, ROUNDS[2:])
    found = [fact_log.read(tmp_path, mark) for mark in first + second]
    assert found == ROUNDS


def test_a_log_that_is_gone_begins_anew(tmp_path):
    log = FactLog(tmp_path)
    old = log.write(ROUNDS[0])
    (tmp_path / fact_log.FILE).unlink()
    assert fact_log.read(tmp_path, log.write(ROUNDS[1])) == ROUNDS[1]
    with pytest.raises(TornError, match="SHA-256 differs"):
        fact_log.read(tmp_path, old)


def test_a_checkpoint_whose_facts_are_torn_is_passed_over(tmp_path, caplog):
    made = Checkpoints(tmp_path, 2)
    about = {"key": "k", "config": {}, "best": None, "tensors": {}}
    for number, facts in enumerate(ROUNDS[:2]):
        made.save(Checkpoint(round=number, rows=[], facts=facts, **about))
    path = tmp_path / "checkpoints" / fact_log.FILE
    path.write_bytes(path.read_bytes()[:-5])
    found = Checkpoints(tmp_path).load()
    assert (found.round, found.facts) == (0, ROUNDS[0])
    assert "is not what was written" in caplog.text
    path.unlink()
    with pytest.raises(TornError, match=r"no whole checkpoint; .*facts\.log"):
        made.load()


def test_a_checkpoint_of_before_there_was_a_log_is_read(tmp_path):
    made = Checkpoints(tmp_path, 2)
    about = {"key": "k", "config": {}, "best": None, "tensors": {}}
    made.save(Checkpoint(round=0, rows=[], facts=ROUNDS[0], **about))
    folder = tmp_path / "checkpoints" / "round-0"
    tensors, facts = store.read(folder)
    store.write(folder, tensors, facts | {"facts": ROUNDS[0]})  # as they were written
    (tmp_path / "checkpoints" / fact_log.FILE).unlink()
    assert Checkpoints(tmp_path).load().facts == ROUNDS[0]
