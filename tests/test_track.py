"""Trackers: what they were told is read back from their files."""

import importlib
import importlib.util
import json
import logging
import os
from pathlib import Path

import pytest

from ilora_app import track
from ilora_app.runs.folder import RunFolder
from ilora_app.server import preflight
from ilora_app.server.saving import ModelWriter
from ilora_app.settings import Settings
from ilora_app.settings.parsing import ConfigError
from ilora_app.track import Trackers
from tests.local_run import metrics, run

CONFIG = {"strategy": "ilora", "seed": 3, "learning-rate": 0.003}


def tell(names: tuple[str, ...], folder, after: int | None = None) -> Trackers:
    """Two rounds, one of them measured later, one failure, and the end."""
    trackers = Trackers(names, folder, CONFIG, after)
    trackers.event("round", {"round": 0, "accuracy": 0.1})
    trackers.event("round", {"round": 1, "accuracy": 0.5, "energy_kept_r2": 0.7})
    trackers.event("measured", {"round": 0, "held_out_accuracy": 0.2})
    trackers.event("reply-left-out", {"round": 1, "reason": "not finite"})
    trackers.event("finished", {})
    return trackers


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    """Every curve of TensorBoard's files, by its own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    return {
        tag: [(event.step, round(event.value, 6)) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


@pytest.fixture
def _tensorboard():
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")


@pytest.mark.slow
@pytest.mark.usefixtures("_tensorboard")
def test_tensorboard_has_every_number_of_a_real_run(run_config):
    folder, _, _ = run(run_config | {"track": "tensorboard"})
    table, found = metrics(folder, times=True), scalars(folder)
    numbers = [c for c in table if c != "round"]
    assert set(found) == set(numbers)
    for column in numbers:
        wanted = table[["round", column]].dropna().itertuples(index=False, name=None)
        for (step, value), (number, right) in zip(found[column], wanted, strict=True):
            assert step == number
            assert value == pytest.approx(right, rel=1e-5, abs=1e-5), column


@pytest.mark.usefixtures("_tensorboard")
def test_tensorboard_drops_a_round_that_is_run_again(tmp_path):
    tell(("tensorboard",), tmp_path)
    again = Trackers(("tensorboard",), tmp_path, CONFIG, 0)
    again.event("round", {"round": 1, "accuracy": 0.4})
    again.event("finished", {})
    assert scalars(tmp_path)["accuracy"] == [(0, 0.1), (1, 0.4)]


def test_mlflow_has_the_rounds_and_the_config(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tell(("mlflow",), tmp_path)
    client = MlflowClient((tmp_path / "mlflow").as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'ilora'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["strategy"] == "ilora"
    assert found.info.status == "FINISHED"
    assert found.data.tags["left_out"] == "round 1: reply-left-out: not finite"
    history = client.get_metric_history(found.info.run_id, "accuracy")
    assert [(m.step, m.value) for m in history] == [(0, 0.1), (1, 0.5)]


@pytest.mark.slow
def test_wandb_writes_offline_and_into_the_run_folder_alone(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "run"
    folder.mkdir()
    tell(("wandb",), folder)
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data = file.read_bytes()
    for part in (b"energy_kept_r2", b"held_out_accuracy", b"learning-rate"):
        assert part in data, part
    assert not list(home.rglob("*"))


def test_a_package_that_is_absent_is_a_mistake_before_round_1(run_config, monkeypatch):
    """Together with every other mistake."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "wandb" else find(n)
    )
    wrong = run_config | {"track": "wandb", "text-columns": "nope"}
    with pytest.raises(ConfigError) as caught:
        preflight.prepare(wrong)
    first, second = caught.value.problems
    assert first.startswith("track = 'wandb': expected its package to be installed")
    assert "pip install wandb" in first
    assert second.startswith("text-columns")


def test_names_that_are_no_trackers_are_refused(run_config):
    with pytest.raises(ConfigError, match="names out of tensorboard, wandb, mlflow"):
        preflight.prepare(run_config | {"track": "tensorboard,comet"})
    assert track.problems(("comet",)) == []


class Broken:
    """Raises what could quote a password, when it is told of the second round."""

    def __init__(self, *_: object) -> None:
        self.steps: list[int] = []

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self.steps.append(step)
        if step:
            raise OSError("https://user:secret@host refused")

    def note(self, step: int, text: str) -> None: ...

    def close(self, status: str) -> None:
        raise AssertionError("it was given up")


def test_a_tracker_that_fails_is_given_up_and_the_run_goes_on(
    tmp_path, monkeypatch, caplog
):
    made = []

    def make(*args: object) -> Broken:
        made.append(Broken(*args))
        return made[-1]

    module = importlib.import_module("ilora_app.track.trackers")
    monkeypatch.setattr(module, "_KNOWN", {"broken": ("json", "broken", "make")})
    real = importlib.import_module
    monkeypatch.setattr(
        module.importlib,
        "import_module",
        lambda name: type("M", (), {"make": make}) if "broken" in name else real(name),
    )
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    tell(("broken",), tmp_path)
    assert made[0].steps == [0, 1]
    assert "broken raised OSError and is not written on" in caplog.text
    assert "secret" not in caplog.text


def ends(folder) -> list[str]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


@pytest.mark.slow
def test_a_run_says_how_it_went_and_how_it_ended(run_config):
    folder, _, _ = run(run_config)
    events = ends(folder)
    assert events[0] == "started"
    assert events[-1] == "finished"
    assert events.index("asked") < events.index("replied")


def test_a_run_that_raises_says_why(tmp_path):
    folder = RunFolder(Settings(), 1, None)
    raise_in = pytest.raises(ValueError, match="boom")
    with raise_in, folder.outcome():
        raise ValueError("boom")
    last = json.loads((folder.path / "events.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["reason"]) == ("failed", "ValueError: boom")
    with pytest.raises(KeyboardInterrupt), folder.outcome():
        raise KeyboardInterrupt
    assert ends(folder.path)[-1] == "stopped"


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    """Default run folders lie here."""
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_server_records_its_failure(run_config, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setattr(ModelWriter, "save_ranks", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        run(run_config)
    assert ends(Path(run_config["output-dir"]))[-1] == "failed"
