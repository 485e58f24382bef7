"""Facts of checkpoints: what has changed is added, and each checkpoint has its own."""

import json
import os
import sys

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


def checkpoint(number: int, facts: dict) -> Checkpoint:
    about = {"key": "k", "config": {}, "best": None, "tensors": {}}
    return Checkpoint(round=number, rows=[], facts=facts, **about)


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


def members(number: int, count: int = 300, take_part: int = 60) -> dict:
    """Facts of a federation in which others take part in every round."""
    known = {str(i): {"rank": i % 7, "seen": 0, "why": "x" * 99} for i in range(count)}
    for turn in range(number + 1):
        for i in range(take_part):
            known[str((turn * 7 + i) % count)]["seen"] = turn
    return {"step": number, "members": known}


def test_a_log_of_many_rounds_stays_as_small_as_its_facts(tmp_path):
    made, ever = Checkpoints(tmp_path, 3), set()
    fresh = len(json.dumps(members(0)))
    line = fresh // 8  # what 60 of 300 members and their paths take
    for number in range(80):
        if number == 60:
            made = Checkpoints(tmp_path, 3)  # another process
        made.save(checkpoint(number, members(number)))
        found = list((tmp_path / "checkpoints").glob("facts*.log"))
        ever |= set(found)
        assert sum(file.stat().st_size for file in found) < 2 * (2 * fresh + 2 * line)
        if number % 19 == 0:
            loaded = Checkpoints(tmp_path).load()
            assert (loaded.round, loaded.facts) == (number, members(number))
    written = 80 * line + len(ever) * fresh
    assert len(ever) > 3
    assert written < 4 * 80 * line, "grows with what changes"
    for folder in (tmp_path / "checkpoints").glob("round-*"):
        _, facts = store.read(folder)
        mark = facts["facts"]["log"]
        assert fact_log.read(tmp_path / "checkpoints", mark) == members(facts["round"])


def die_at(step: int) -> None:
    """End this process before its step-th opening, renaming or removing of files."""
    left = [step]

    def count(event: str, _: object) -> None:
        left[0] -= event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
        if left[0] < 0:
            os._exit(9)

    sys.addaudithook(count)


def test_a_crash_while_a_log_is_followed_by_another_loses_nothing(tmp_path):
    facts = [{"members": {str(i): f"{n} {i} {'x' * 99}" for i in range(700)}}
             for n in range(4)]  # fmt: skip
    step, code = 0, 9
    while code == 9:
        folder = tmp_path / str(step)
        made = Checkpoints(folder, 1)
        for number in (0, 1):
            made.save(checkpoint(number, facts[number]))
        if (child := os.fork()) == 0:
            die_at(step)
            made.save(checkpoint(2, facts[2]))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        followed = (folder / "checkpoints" / "facts-1.log").exists()
        again = Checkpoints(folder, 1)
        found = again.load()
        assert found.facts == facts[found.round]
        assert found.round == 2 if code == 0 else found.round in (1, 2)
        for number in range(found.round + 1, 4):
            again.save(checkpoint(number, facts[number]))
        assert Checkpoints(folder).load().facts == facts[3]
        step += 1
    assert (code, followed, step > 8) == (0, True, True)


def test_a_log_that_is_gone_begins_anew(tmp_path):
    log = FactLog(tmp_path)
    old = log.write(ROUNDS[0])
    (tmp_path / fact_log.FILE).unlink()
    assert fact_log.read(tmp_path, log.write(ROUNDS[1])) == ROUNDS[1]
    with pytest.raises(TornError, match="SHA-256 differs"):
        fact_log.read(tmp_path, old)


def test_a_checkpoint_whose_facts_are_torn_is_passed_over(tmp_path, caplog):
    made = Checkpoints(tmp_path, 2)
    for number, facts in enumerate(ROUNDS[:2]):
        made.save(checkpoint(number, facts))
    path = tmp_path / "checkpoints" / fact_log.FILE
    path.write_bytes(path.read_bytes()[:-5])
    found = Checkpoints(tmp_path).load()
    assert (found.round, found.facts) == (0, ROUNDS[0])
    assert "is not what was written" in caplog.text
    path.unlink()
    with pytest.raises(TornError, match=r"no whole checkpoint; .*facts\.log"):
        made.load()


def test_a_checkpoint_of_before_there_was_a_log_is_read(tmp_path):
    Checkpoints(tmp_path, 2).save(checkpoint(0, ROUNDS[0]))
    folder = tmp_path / "checkpoints" / "round-0"
    tensors, facts = store.read(folder)
    store.write(folder, tensors, facts | {"facts": ROUNDS[0]})  # as they were written
    (tmp_path / "checkpoints" / fact_log.FILE).unlink()
    assert Checkpoints(tmp_path).load().facts == ROUNDS[0]
