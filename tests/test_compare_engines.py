"""Engines: failures, crashes, the end of processes, and Flower's own engine."""

import multiprocessing
import subprocess
import sys
import time

import pandas
import pytest

from ilora_app.compare.engines import Watch
from ilora_app.compare.jobs import FAILED, FINISHED, Job, Record, what_is_wrong
from ilora_app.compare.local_engine import LocalEngine
from ilora_app.compare.progress import Progress
from ilora_app.compare.ray_engine import RayEngine, reason_in
from ilora_app.runs import processes
from tests.local_run import metrics
from tests.made_up import entry, fail, finish, plan, rounds

LOG = """\
Successfully started run 80864
\x1b[92mINFO \x1b[0m:      Starting Flower Simulation
\x1b[91mERROR \x1b[0m:     the run config has 2 mistakes:
  - client-ranks = 999: expected ranks up to 384
  - label-column = 'x': no such column
\x1b[91mERROR \x1b[0m:     Exit Code: 700

An unhandled exception occurred when running the simulation.
"""
TRACEBACK = """\
\x1b[91mERROR \x1b[0m:     ServerApp thread raised an exception: boom
Traceback (most recent call last):
  File "x.py", line 1, in main
    raise ValueError("first")
ValueError: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "y.py", line 2, in main
    int("x")
ValueError: boom
\x1b[92mINFO \x1b[0m:      done
"""
BOX = """\
╭─ Error ──────────────────────────────╮
│ [code: 15] Invalid run configuration │
│ 'no-such' is no key                  │
╰──────────────────────────────────────╯
"""


class Told(Watch):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.running: list[str] = []

    def started(self, job: Job) -> None:
        self.running.append(job.row)

    def ended(self, job: Job, record: Record) -> None:
        assert job.record() == record
        self.records[job.row] = record


def jobs(tmp_path, run_config, *rows):
    settings = {k: v for k, v in run_config.items() if k != "output-dir"}
    made = plan(tmp_path / "out", *(entry(row, **settings) for row in rows))
    return [made.job(one, 0.003, 0) for one in made.entries]


def test_the_reason_is_the_last_error_of_the_log():
    assert reason_in(LOG).splitlines() == [
        "the run config has 2 mistakes:",
        "- client-ranks = 999: expected ranks up to 384",
        "- label-column = 'x': no such column",
    ]
    assert reason_in(TRACEBACK) == "ValueError: boom"
    assert reason_in(BOX).splitlines() == [
        "[code: 15] Invalid run configuration",
        "'no-such' is no key",
    ]
    assert reason_in("INFO :    fine\n") == ""


@pytest.mark.slow
def test_a_crashed_worker_fails_its_job_and_the_others_go_on(tmp_path, run_config):
    crashed, fine = jobs(tmp_path, run_config, "ilora", "ilora+other")

    class Killer(Told):
        def started(self, job: Job) -> None:
            super().started(job)
            if job == crashed:
                for process in multiprocessing.active_children():
                    process.kill()

    told = Killer()
    engine = LocalEngine(1)
    try:
        engine.run([crashed, fine], told)
    finally:
        engine.close()
    assert told.records["ilora"].status == FAILED
    assert "exit code -9" in told.records["ilora"].reason
    assert told.records["ilora+other"].status == FINISHED
    assert not multiprocessing.active_children()


def test_a_run_in_which_no_client_could_train_has_failed(tmp_path):
    made = plan(tmp_path, entry())
    job = made.job(made.entries[0], 0.003, 0)
    finish(job, rounds(0.1, 0.1))
    events = job.folder / "events.jsonl"
    ended = '{"event": "round", "round": 0}\n{"event": "round", "round": 1}\n'
    unchanged = '{"event": "model-unchanged", "round": 1, "reason": "nobody"}\n'
    reply = '{"event": "reply-left-out", "round": 1, "reason": "out of memory"}\n'
    events.write_text(ended)
    assert what_is_wrong(job.folder) == ""
    events.write_text(ended + reply + unchanged)
    assert "no round changed the model: out of memory" in what_is_wrong(job.folder)
    (job.folder / "metrics.csv").unlink()
    assert "no metrics.csv" in what_is_wrong(job.folder)


def test_a_process_is_ended_with_all_that_it_has_started():
    inner = "import time; time.sleep(60)"
    outer = (
        "import subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, '-c', '{inner}'], start_new_session=True);"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", outer], start_new_session=True)
    end = time.monotonic() + 20
    while not (below := processes.descendants(process.pid)):
        assert time.monotonic() < end
        time.sleep(0.05)
    processes.stop(process)
    assert process.returncode is not None
    assert not any(map(processes.alive, below))


def test_the_command_of_a_process_is_known_as_long_as_it_runs():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    end = time.monotonic() + 20
    while "time.sleep(60)" not in processes.command(process.pid):
        assert time.monotonic() < end
        time.sleep(0.05)
    processes.stop(process)
    assert processes.command(process.pid) == ""


def test_the_live_table_counts_and_shows_the_latest_accuracy(tmp_path):
    from rich.console import Console

    made = plan(tmp_path, entry(), entry("ilora+local-steps=1"), seeds=3)
    one, other = made.entries
    finish(made.job(one, 0.003, 0), rounds(0.1, 0.25))
    finish(made.job(one, 0.003, 1), rounds(0.1, 0.375))
    (made.job(one, 0.003, 1).folder.parent / "seed-1.json").unlink()
    console = Console(width=120, record=True, force_terminal=False)
    progress = Progress(made, console, workers=2)
    progress.started(made.job(one, 0.003, 1))
    job = made.job(other, 0.003, 0)
    fail(job, "no such thing")
    progress.ended(job, job.record())
    assert progress.total == 6
    assert progress.seconds_left() == pytest.approx(4 * 60 / 2, abs=1)
    console.print(progress.table())
    text = console.export_text()
    assert "seed 0: failed: no such thing" in text
    row = next(line for line in text.splitlines() if "│" in line and "0.375" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["default", "ilora", "1/3", "1", "", "0.3750 (1/8)"]
    assert "1 of 6 runs, 1 failed, 2 min" in text


@pytest.mark.parametrize(
    "name", ['ilora+dataset="/d/a[/b]c"', 'ilora+dataset="/d/[b]c"']
)
def test_the_live_table_shows_names_as_they_are(tmp_path, name):
    from rich.console import Console

    console = Console(width=120, record=True, force_terminal=False)
    console.print(Progress(plan(tmp_path, entry(name)), console).table())
    assert name in console.export_text()


@pytest.mark.long
@pytest.mark.slow
def test_the_ray_engine_runs_jobs_and_its_numbers_are_the_local_engines(
    tmp_path, run_config
):
    good, bad = jobs(tmp_path, run_config, "ilora+x=1", "ilora+y")
    bad.config["client-ranks"] = "999"
    told = Told()
    engine = RayEngine(tmp_path / "flower")
    try:
        engine.run([good, bad], told)
    finally:
        engine.close()
    assert told.records["ilora+x=1"].status == FINISHED, good.log.read_text()
    assert told.records["ilora+y"].status == FAILED
    assert "client-ranks = 999: expected ranks" in told.records["ilora+y"].reason
    assert "Exit Code" not in told.records["ilora+y"].reason
    theirs = metrics(good.folder)
    local = LocalEngine(1)
    try:
        local.run([good], told)
    finally:
        local.close()
    pandas.testing.assert_frame_equal(theirs, metrics(good.folder), check_exact=True)
