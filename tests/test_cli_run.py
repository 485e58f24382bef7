"""``ilora run``: what it asks for, and its help."""

import io
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from ilora_app.cli import app, complete, run_session
from ilora_app.cli.run_request import Request, RequestError
from ilora_app.cli.run_session import Session
from ilora_app.launch import app_files
from ilora_app.launch.app_files import copy_app
from ilora_app.launch.config_files import absolute
from ilora_app.launch.superlink import BIN, SuperLinkError
from ilora_app.methods import METHODS
from ilora_app.settings import MethodSettings, keeping, strategies

ROOT = Path(__file__).parent.parent


def resolve(*pairs: str, **more) -> tuple[dict[str, object], str]:
    return Request(pairs=pairs, **more).resolve()


def test_options_win_over_pairs_and_pairs_over_the_preset(tmp_path):
    preset = tmp_path / "mine.toml"
    preset.write_text(
        "# --federation-config num-supernodes=5\nseed = 1\nmomentum = 0.5\n"
    )
    settings, federation = resolve(
        "seed=2", "client-ranks=2,4", options={"seed": 3}, preset=str(preset)
    )
    assert settings == {"seed": 3, "momentum": 0.5, "client-ranks": "2,4"}
    assert federation == "num-supernodes=5 client-resources-num-cpus=1"
    _, federation = resolve(preset=str(preset), clients=9, cpus=2, gpus=0.25)
    assert federation == (
        "num-supernodes=9 client-resources-num-cpus=2 client-resources-num-gpus=0.25"
    )


def test_presets_go_by_name_and_clients_default_to_eight():
    settings, federation = resolve(preset="dirichlet-0.1")
    assert settings["dirichlet-alpha"] == 0.1
    assert federation.startswith("num-supernodes=")
    assert resolve()[1].startswith("num-supernodes=8 ")


def test_a_superlink_that_is_there_keeps_its_federation():
    assert resolve(simulated=False)[1] == ""
    assert resolve(simulated=False, clients=3)[1] == "num-supernodes=3"


def test_mistakes_come_together():
    with pytest.raises(RequestError) as caught:
        resolve(
            "seed", "learnin-rate=1", "dtype=int3",
            preset="nope", clients=0, cpus=-1.0, options={"num-server-rounds": 0},
        )  # fmt: skip
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 7
    for part in (
        "--config 'nope': expected", "dirichlet-0.1", "--set 'seed': expected KEY",
        "did you mean learning-rate", "dtype = 'int3'", "num-server-rounds = 0",
        "--clients 0", "--cpus -1",
    ):  # fmt: skip
        assert part in text, part
    with pytest.raises(RequestError, match="--clients 1: expected 2 or more"):
        resolve(clients=1)


def test_mistakes_of_the_method_and_of_folders_are_found_before_anything_is_started(
    tmp_path,
):
    (tmp_path / "file").write_text("")
    out, absent = str(tmp_path), str(tmp_path / "absent")
    for options, message in (
        ({"strategy": "fedavg"}, "strategy = 'fedavg': expected one of ilora, "),
        ({"strategy": "fedit", "hetlora-gamma": 0.5}, "is not used, as fedit has no"),
        ({"output-dir": out}, "expected a new or empty folder"),
        ({"output-dir": f"{out}/file"}, "expected a new or empty folder"),
        ({"resume": absent}, f"resume = '{absent}': expected latest, or the folder"),
    ):
        with pytest.raises(RequestError, match=re.escape(message)) as caught:
            resolve(options=options)
        assert len(caught.value.problems) == 1
    wrong = {"resume": absent, "output-dir": out, "seed": -1, "strategy": "fedavg"}
    with pytest.raises(RequestError) as caught:
        resolve(options=wrong, clients=1)
    assert [text.partition(" ")[0] for text in caught.value.problems] == [
        "seed", "strategy", "resume", "output-dir", "--clients",
    ]  # fmt: skip
    with pytest.raises(RequestError, match="the folder of a run, as resume is latest"):
        resolve(options={"resume": "latest", "output-dir": absent})
    resolve(options={"output-dir": absent})
    resolve(options={"resume": "latest"})
    resolve(options={"resume": out, "output-dir": out})
    resolve(options={"resume": absent}, simulated=False)


def test_the_command_prints_them_and_starts_nothing(monkeypatch):
    monkeypatch.setattr(Session, "run", lambda _: pytest.fail("it ran"))
    result = CliRunner().invoke(app, ["run", "--seed", "-1", "--set", "x=1"])
    assert result.exit_code == 2
    assert "2 mistakes, and nothing was run" in result.output


@pytest.mark.parametrize("text", [b"seed = '\xff'", b"seed =", b"\xff\xfes\0"])
def test_a_preset_that_cannot_be_read_is_a_mistake(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_bytes(text)
    for words in (
        ["run", "--config", str(file)],
        ["compare", "--presets", str(file), "--out", str(tmp_path / "out")],
    ):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2, result.exception
        assert "1 mistake, and nothing was run" in result.output
        assert f"{file}: " in result.output
    assert not (tmp_path / "out").exists()


def test_folders_are_made_absolute_and_names_are_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "mine").mkdir(parents=True)
    assert absolute("dataset", "data/mine") == str(tmp_path / "data" / "mine")
    assert absolute("dataset", "data") == str(tmp_path / "data")
    assert absolute("dataset", "./data") == str(tmp_path / "data")
    assert absolute("output-dir", "runs/x") == str(tmp_path / "runs" / "x")
    for key, name in (
        ("dataset", "clinc150"), ("model", "org/model"), ("resume", "latest"),
        ("dataset", "$DATA/x"), ("output-dir", ""), ("model", "data"),
    ):  # fmt: skip
        assert absolute(key, name) == name


def test_the_app_is_copied_from_the_repository_and_made_up_elsewhere(tmp_path):
    copy_app(tmp_path / "a", {})
    assert (tmp_path / "a" / "pyproject.toml").is_file()
    assert not list((tmp_path / "a").rglob("__pycache__"))
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "ilora_app").symlink_to(ROOT / "ilora_app")
    copy_app(tmp_path / "b", {}, place)
    made = tomllib.loads((tmp_path / "b" / "pyproject.toml").read_text())
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())
    made_app, our_app = made["tool"]["flwr"]["app"], ours["tool"]["flwr"]["app"]
    travels = made_app.pop("fab-include")
    beside = ["/README.md", "/LICENSE"]
    assert [*travels, *beside] == our_app.pop("fab-include")
    assert made_app == our_app
    assert made["project"]["version"] == ours["project"]["version"]
    command = [BIN / "flwr", "build", "--app", str(tmp_path / "b")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_superlink_that_does_not_start_is_a_failure(monkeypatch):
    def broken(*_):
        raise SuperLinkError("flower-superlink ended with 1")

    monkeypatch.setattr(run_session, "superlink", broken)
    monkeypatch.setattr(app_files, "copy_app", lambda *_: None)
    result = CliRunner().invoke(app, ["run", "--json"])
    assert result.exit_code == 1
    assert "failed: flower-superlink ended with 1" in result.stderr
    assert json.loads(result.stdout)["status"] == "failed"


def test_a_connection_that_is_not_there_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    console = Console(file=io.StringIO())
    outcome = Session({}, "", "no-such-link", console).run()
    assert outcome.status == "failed"
    assert "no-such-link" in outcome.reason


def commands(group: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command there is, with those of its groups."""
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_help_is_complete_and_has_an_example(name, command):
    result = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    assert f"Example: ilora {name} " in text
    assert "\\[" not in text, "as typer escapes it"
    for parameter in command.params:
        assert parameter.help
        assert " ".join(parameter.help.split()[:3]) in text, parameter.name
    # Which becomes another program, and prints what that prints.
    assert "--json" in text or name == "supernode"


def test_the_shell_completes_commands_options_and_values(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".ilora" / "runs" / "mine-7"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("")
    keys = ("strategy", "num-server-rounds", "output-dir")
    (folder / "config.toml").write_text("".join(f"{key} = 1\n" for key in keys))

    def shell(line: str) -> str:
        env = {
            "_ILORA_COMPLETE": "complete_bash", "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }  # fmt: skip
        return CliRunner().invoke(app, [], prog_name="ilora", env=env).output.strip()

    assert "doctor" in shell("ilora d")
    assert "--superlink" in shell("ilora run --sup")
    assert "dirichlet-0.1" in shell("ilora run --config dirichlet-0")
    for command in ("runs show", "runs rm", "export", "predict", "report"):
        assert shell(f"ilora {command} mi") == "mine-7", command
        assert shell(f"ilora {command} x") == ""
    assert shell("ilora run --strategy flo") == "flora"
    assert shell("ilora run --track ten") == "tensorboard"
    assert shell("ilora run --track mlflow,wan") == "mlflow,wandb"
    assert "mlflow" not in shell("ilora run --track mlflow,").split()


def test_names_that_are_known_by_heart_are_what_there_is():
    assert tuple(METHODS) == strategies.NAMES
    own = {method.settings for method in METHODS.values()}
    assert own == {MethodSettings}, "strategies.parse knows no other keys"
    assert complete.TRACKERS == keeping.TRACKERS
