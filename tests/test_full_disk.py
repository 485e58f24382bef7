"""A disk that fills up in a run: numbers stay, and the run ends with one message."""

import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from ilora_app.runs.folder import RunFolder
from ilora_app.runs.writing import PlaceError
from ilora_app.settings import parsing
from tests.conftest import read_events
from tests.interruptions import resumed
from tests.local_run import files, metrics, run

# The system itself refuses to let a file grow, as where a quota or a disk is used up:
# from the training of three nodes in round 2 on, up to that of the round that is told.
SCRIPT = """
import json, resource, sys
from pathlib import Path
from ilora_app.runs.writing import PlaceError
from tests.local_run import run

config, until = json.loads(sys.argv[1]), int(sys.argv[2])
events = Path(config["output-dir"]) / "events.jsonl"
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

def fill(reply):
    if reply.metadata.message_type == "train":
        fill.trained += 1
        if fill.trained == 4:
            size = events.stat().st_size + 20
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        if fill.trained == 3 * until:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    return reply

fill.trained = 0
try:
    run(config, tamper=fill)
except PlaceError as error:
    print(error)
"""


def filled(config: dict, until: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", SCRIPT, json.dumps(config), str(until)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_disk_that_fills_up_in_a_run(run_config, tmp_path):
    run_config |= {"num-server-rounds": 3}
    whole, _, _ = run(run_config | {"output-dir": str(tmp_path / "whole")})

    place = tmp_path / "short"
    done = filled(run_config | {"output-dir": str(place)}, until=3)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert said.count("events.jsonl cannot be written: ") == 1, said
    assert said.count("events.jsonl is written again") == 1, said
    assert files(place) == files(whole)
    pandas.testing.assert_frame_equal(metrics(place), metrics(whole), check_exact=True)
    assert [e["round"] for e in read_events(place, "round")] == [0, 1, 2, 3]
    assert read_events(place, "finished"), "and no line is torn or lost"

    place = tmp_path / "long"
    config = run_config | {"output-dir": str(place)}
    done = filled(config, until=99)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    (line,) = done.stdout.splitlines()
    assert line.startswith("the model cannot be written: ")
    assert f"resume = '{place}' goes on from {place}/checkpoints/round-1" in line
    resumed(config)
    assert files(place) == files(whole)
    pandas.testing.assert_frame_equal(metrics(place), metrics(whole), check_exact=True)
    list(map(json.loads, (place / "events.jsonl").read_text().splitlines()))


def test_a_place_that_cannot_be_written_is_one_message_and_harms_nothing(tmp_path):
    """Not even the config of a run that would go on: it is whole, or as it was."""
    settings = parsing.load({"output-dir": str(tmp_path / "run")})
    folder = RunFolder(settings, 1)
    with folder.outcome():
        pass
    kept = {p: p.read_bytes() for p in folder.path.iterdir() if p.name != ".lock"}
    Path(folder.path / ".config.toml.tmp").mkdir()
    with pytest.raises(PlaceError, match=r"cannot be written: .*Is a directory"):
        RunFolder(settings, 2, resumed=folder.path, rows=[{"round": 0}])
    now = {p: p.read_bytes() for p in kept}
    assert now == kept
