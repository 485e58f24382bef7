"""Which run goes on, and what is refused with what differs."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertModel

from ilora_app.federation.waiting import FederationError
from ilora_app.runs import lock
from ilora_app.runs.checkpoint import Checkpoints
from ilora_app.server import preflight
from ilora_app.settings import parsing
from ilora_app.tasks.loading import load_backbone
from tests.interruptions import interrupted, resumed
from tests.local_run import files, run


@pytest.fixture(scope="module")
def ended(tiny_config, tmp_path_factory) -> tuple[dict[str, Any], Path]:
    """A run that has ended, to which nothing is done."""
    place = tmp_path_factory.mktemp("ended") / "run"
    run_config = tiny_config | {"output-dir": str(place)}
    return run_config, run(run_config)[0]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"strategy": "fedit"}, "strategy is 'fedit', and was 'ilora'"),
        ({"client-ranks": "2,4"}, "client-ranks is '2,4', and was '2,4,8'"),
        ({"seed": 5}, "seed is 5, and was 0"),
        ({"learning-rate": 0.5}, "learning-rate is 0.5, and was 0.003"),
        ({"label-column": "intent"}, "label-column is 'intent', and was 'domain'"),
        ({"num-server-rounds": 1}, "num-server-rounds = 1: expected 2 or more"),
    ],
)
def test_what_differs_is_refused(ended, change, difference):
    run_config, folder = ended
    before = files(folder)
    with pytest.raises(parsing.ConfigError, match="mistake") as caught:
        resumed(run_config | change)
    assert difference in str(caught.value)
    assert files(folder) == before


def test_a_run_from_before_a_setting_goes_on_under_its_default(ended, tmp_path):
    run_config, folder = ended
    place = tmp_path / "run"
    shutil.copytree(folder, place)
    there = Checkpoints(place)
    made = there.load()
    then = {key: v for key, v in made.config.items() if key != "use-rslora"}
    there.save(replace(made, config=then))
    assert "use-rslora" not in Checkpoints(place).load().config
    keys = run_config | {"output-dir": str(place), "resume": "latest"}
    preflight.prepare(keys | {"num-server-rounds": 3})
    with pytest.raises(parsing.ConfigError, match="use-rslora is true, and was false"):
        preflight.prepare(keys | {"use-rslora": True})


def test_other_weights_under_the_same_name_are_refused(run_config, tmp_path):
    """Trained ones, and ones of another width."""
    place = tmp_path / "model"
    shutil.copytree(run_config["model"], place)
    run_config |= {"model": str(place)}
    run(run_config)
    preflight.prepare(run_config | {"resume": "latest"})
    for change in ({"hidden_size": 64}, {}):
        made = BertModel(BertConfig.from_pretrained(run_config["model"], **change))
        made.save_pretrained(place)
        load_backbone.cache_clear()  # another process, as a resumed run has
        with pytest.raises(
            parsing.ConfigError, match="those that it names now are oth"
        ):
            preflight.prepare(run_config | {"resume": "latest"})


def test_a_server_with_a_place_for_runs_writes_nowhere_else(
    run_config, tmp_path, monkeypatch
):
    """Neither by dots nor by links; a run config comes from another machine."""
    place = tmp_path / "runs"
    place.mkdir()
    (place / "link").symlink_to(tmp_path)
    monkeypatch.setenv("ILORA_RUNS", str(place))
    for wrong in (tmp_path / "x", place / "../x", place / "link/x", "/etc/x"):
        for given in ({"output-dir": str(wrong)}, {"resume": str(wrong)}):
            wanted = run_config | {"output-dir": ""} | given
            with pytest.raises(
                parsing.ConfigError, match=r"a folder under .*/runs, wh"
            ):
                preflight.prepare(wanted)
    folder, _, _ = run(run_config | {"output-dir": str(place / "one")})
    assert folder == place / "one"
    again = run_config | {"output-dir": "", "resume": str(folder)}
    assert preflight.prepare(again).resumed.folder == folder


def test_a_run_that_is_at_work_is_refused(run_config):
    """From inside its second round, as a second `flwr run` would ask."""
    said, folder_of = [], Path(run_config["output-dir"])

    def ask(reply):
        if (folder_of / "checkpoints/round-1").exists() and not said:
            with pytest.raises(parsing.ConfigError) as caught:
                preflight.prepare(run_config | {"resume": "latest"})
            said.append(str(caught.value))
        return reply

    folder, _, _ = run(run_config | {"keep-checkpoints": 1}, tamper=ask)
    assert f"process {os.getpid()} on " in said[0]
    assert f"is at work in {folder}" in said[0]
    run_config |= {"num-server-rounds": 3, "keep-checkpoints": 1}
    assert preflight.prepare(run_config | {"resume": "latest"}).resumed.folder == folder


def test_a_server_that_was_killed_holds_nothing(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from ilora_app.runs import lock\n"
        "held = lock.hold(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path)], check=False)
    killed = (tmp_path / ".lock").read_text()
    assert killed.startswith("process ")
    assert not lock.busy(tmp_path)
    assert (tmp_path / ".lock").read_text() == killed, "to look changes nothing"
    with lock.hold(tmp_path):
        assert lock.busy(tmp_path)
        with pytest.raises(lock.BusyError, match=rf"process {os.getpid()} on"):
            lock.hold(tmp_path)
    assert not lock.busy(tmp_path)


def test_latest_is_the_newest_run_of_this_configuration(
    run_config, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    del run_config["output-dir"]
    with pytest.raises(parsing.ConfigError, match=r"\.ilora/runs has none"):
        preflight.prepare(run_config | {"resume": "latest"})
    first, _, _ = run(run_config)
    run_config["seed"] = 1
    (first.parent / "notes.txt").write_text("no run")
    with pytest.raises(parsing.ConfigError, match="seed is 1, and was 0"):
        preflight.prepare(run_config | {"resume": "latest"})
    second = first.parent / "second"
    run(run_config | {"output-dir": str(second)})
    for seed, folder in ((1, second), (0, first)):
        wanted = run_config | {"resume": "latest", "seed": seed}
        assert preflight.prepare(wanted).resumed.folder == folder
    assert (
        preflight.prepare(run_config | {"resume": str(second)}).resumed.folder == second
    )


def test_a_folder_that_cannot_be_resumed(run_config, tmp_path):
    for resume, right in (
        ("somewhere", "latest, or a run folder: absolute, or under ~"),
        (str(tmp_path / "none"), "a run with a checkpoint"),
    ):
        wanted = run_config | {"resume": resume, "output-dir": ""}
        with pytest.raises(parsing.ConfigError, match=right):
            preflight.prepare(wanted)
    with pytest.raises(parsing.ConfigError, match="a run goes on where it is"):
        preflight.prepare(run_config | {"resume": str(tmp_path / "none")})
    # What lies below the folder of no run, as below /, is not gone through.
    (tmp_path / "link").symlink_to(tmp_path)
    wanted = run_config | {"resume": str(tmp_path), "output-dir": ""}
    with pytest.raises(parsing.ConfigError, match="a run with a checkpoint"):
        preflight.prepare(wanted)


def test_with_resume_all_mistakes_come_at_once(ended, tmp_path):
    """None waits until the others are mended, whatever is wrong with the folder."""
    own = {
        "learnin-rate": 1.0,
        "batch-size": 0,
        "target-modules": "q_proj",
        "test-split": "testing",
        "label-column": "auto",
        "track": "abacus",
    }
    run_config, folder = ended
    differing = {"seed": 5, "num-server-rounds": 1, "local-steps": 9}
    elsewhere = {"output-dir": str(tmp_path / "x")}
    for more, lines in (
        ({"resume": "somewhere"}, ["resume = 'somewhere': expected latest, or a run"]),
        (
            {"resume": str(tmp_path / "none"), **elsewhere},
            ["a run with a checkpoint", "a run goes on where it is"],
        ),
        ({"resume": "latest", "output-dir": "x"}, ["output-dir = 'x': expected a run"]),
        ({"resume": "latest", "num-server-rounds": 0}, ["num-server-rounds = 0: "]),
        (
            {"resume": str(folder), **elsewhere, **differing},
            [
                "local-steps is 9, and was",
                "num-server-rounds = 1: expected 2 or more",
                "a run goes on where it is",
            ],
        ),
    ):
        with lock.hold(folder), pytest.raises(parsing.ConfigError) as caught:
            preflight.prepare(run_config | own | more)
        found = caught.value.problems
        text = "\n".join(found)
        wanted = [f"{key} = " for key in own if key != "label-column"] + lines
        assert [part for part in wanted if part not in text] == [], text
        assert ("seed is 5, and was 0" in text) == ("seed" in more)
        assert "batch-size is" not in text, "its default says nothing"
        assert "label-column is" not in text, "it could not be resolved"
        assert "partition-by is" not in text
        assert len(found) == len(set(found))
    assert "is at work in" in text


def test_another_number_of_partitions_is_refused(run_config):
    interrupted(run_config)
    with pytest.raises(FederationError, match=r"in 3 parts, .* one of 4"):
        resumed(run_config, nodes=4)
