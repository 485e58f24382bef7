"""A method that lies outside the package, by ``strategy = "module:Class"``."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

from ilora_app.compare.rows import parse_rows
from ilora_app.launch.app_files import copy_app
from ilora_app.server import preflight
from ilora_app.settings.parsing import ConfigError
from tests.interruptions import assert_same, interrupted, resumed
from tests.local_run import metrics, run

FOLDER = Path(__file__).parent.parent / "examples" / "add_a_method"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("median", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def job(run_config):
    return run_config | {
        "strategy": "median:Median",
        "median-momentum": 0.5,
        "num-server-rounds": 3,
    }


def test_its_own_key_is_read_and_changes_the_result(job, tmp_path):
    folder, _, server = run(job)
    assert server.strategy.method.momentum == 0.5
    written = tomllib.loads((folder / "config.toml").read_text())
    assert written["median-momentum"] == 0.5
    other = {"median-momentum": 0.0, "output-dir": str(tmp_path / "other")}
    without = metrics(run(job | other)[0])["loss"]
    found = metrics(folder)["loss"]
    assert found[1] == without[1]
    assert found[2] != without[2]
    assert found.iloc[-1] < found.iloc[0]


@pytest.mark.slow
def test_what_it_keeps_is_in_the_checkpoint(job, tmp_path):
    whole, _, _ = run(job)
    job["output-dir"] = str(tmp_path / "other")
    other = interrupted(job, fails_in=3)
    server = resumed(job)
    assert server.strategy.state.buffers
    assert_same(whole, other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategy": "no_such_module:Median"}, "No module named 'no_such_module'"),
        ({"strategy": "median:Mean"}, "a class that median has"),
        ({"strategy": "os:path"}, "expected a subclass of ilora_app.methods.method"),
        ({"strategy": "median:median"}, "expected a subclass of"),
        ({"strategy": "broken:Method"}, "RuntimeError: not today"),
        ({"strategy": "median/../x:Y"}, "or package.module:Class of a method"),
        ({"median-momentum": 1.0}, "median-momentum = 1.0: expected 0 or more and"),
        ({"median-momentun": 0.1}, "did you mean median-momentum?"),
        ({"decomposition": "qr"}, "median:Median has no such setting"),
        ({"strategy": "ilora"}, "median-momentum = 0.5: there is no such key"),
    ],
)
def test_mistakes_say_what_would_be_right(job, changes, said, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        preflight.prepare(job | changes)
    assert said in str(caught.value)


def test_a_comparison_takes_it_for_a_row():
    rows, problems = parse_rows("ilora,median:Median+median-momentum=0.25")
    assert problems == []
    assert dict(rows[1].changes) == {
        "strategy": "median:Median",
        "median-momentum": 0.25,
    }
    assert rows[1].slug == "median_Median+median-momentum=0.25"
    _, problems = parse_rows("median:Median+median-momentum=2")
    assert "median-momentum = 2: expected 0 or more and below 1" in problems[0]
    _, problems = parse_rows("no_such_module:X")
    assert "No module named" in problems[0]


def test_flower_is_told_of_its_keys(job, tmp_path):
    copy_app(tmp_path / "app", job)
    text = (tmp_path / "app" / "pyproject.toml").read_text()
    config = tomllib.loads(text)["tool"]["flwr"]["app"]["config"]
    assert config["median-momentum"] == 0.5
    assert config["strategy"] == "ilora"


@pytest.mark.long
def test_ilora_run_takes_it_along_from_a_relative_path(job, tmp_path):
    """The processes that train have other working directories."""
    job["output-dir"] = str(tmp_path / "run")
    job["num-server-rounds"] = 1
    (tmp_path / "job.toml").write_text(tomli_w.dumps(job))
    words = ["run", "--config", str(tmp_path / "job.toml"), "--clients", "2", "--json"]
    code = "from ilora_app.cli import app; app()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *words],
        cwd=FOLDER.parent,
        env=os.environ | {"PYTHONPATH": FOLDER.name, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["status"] == "finished"
