"""Records of runs that are damaged, of something else, or whose run folder is gone."""

import json
import shutil

import pytest

from ilora_app.compare import finished
from ilora_app.compare.runner import run
from ilora_app.compare.tables import markdown
from tests.made_up import entry, finish, plan, record, rounds, section_of

WHOLE = {
    "status": "finished", "reason": "", "seconds": 1.0, "engine": "local",
    "clients": 4, "config": {}, "versions": {}, "hardware": "",
}  # fmt: skip
DAMAGED = {
    "empty": "", "torn": '{"status": "fini', "deep": "[" * 100_000, "foreign": "{}",
    "list": "[1]", "null": "null", "bytes": "\x00",
    "more": json.dumps(WHOLE | {"x": 1}),
    "a list for a config": json.dumps(WHOLE | {"config": []}),
    "a text for clients": json.dumps(WHOLE | {"clients": "4"}),
}  # fmt: skip


class Engine:
    """Finishes every job, and remembers which."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def run(self, jobs, watch) -> None:
        for job in jobs:
            self.seeds.append(job.seed)
            finish(job, rounds(0.1, 0.6))

    def close(self) -> None:
        pass


@pytest.fixture
def made(tmp_path):
    made = plan(tmp_path, entry(), seeds=3)
    for seed in made.seeds:
        finish(made.job(made.entries[0], 0.003, seed), rounds(0.1, 0.5))
    return made


def goes_on(made) -> list[int]:
    engine = Engine()
    run(made, engine, None)
    return engine.seeds


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_none_and_its_run_is_run_again(made, text):
    job = made.job(made.entries[0], 0.003, 1)
    job.folder.with_name("seed-1.json").write_text(text)
    assert job.record() is None
    section = section_of(made)
    assert len(section.methods[0].runs) == 2
    assert "ilora (2 of 3)" in markdown([section], [])
    assert made.conflicts() == []
    assert goes_on(made) == [1]
    assert len(section_of(made).methods[0].runs) == 3


def test_a_finished_run_whose_folder_is_gone_is_run_again(made):
    job = made.job(made.entries[0], 0.003, 2)
    shutil.rmtree(job.folder)
    assert finished.read_run(job) is None
    assert "ilora (2 of 3)" in markdown([section_of(made)], [])
    assert goes_on(made) == [2]


def test_rows_of_metrics_that_are_of_no_round_are_left_out(made):
    job = made.job(made.entries[0], 0.003, 0)
    (job.folder / "metrics.csv").write_text("accuracy\n0.9\n")
    assert finished.read_run(job).rounds == ()
    assert finished.read_run(job).score is None
    assert len(section_of(made).methods[0].runs) == 3


def test_a_record_is_written_whole_and_flushed(made, monkeypatch):
    from ilora_app.runs import writing

    flushed = []
    real = writing.flush
    monkeypatch.setattr(writing, "flush", lambda p: (flushed.append(p), real(p)))
    job = made.job(made.entries[0], 0.003, 0)
    job.close(record(job))
    assert flushed[-1] == job.folder.parent
    assert len(flushed) == 2
    assert job.record() == record(job)
