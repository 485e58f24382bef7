"""Nodes of one process that train as one batch, through whole runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ilora_app.methods import METHODS
from tests.local_run import FaultyGrid, metrics, run

pytestmark = pytest.mark.slow


@pytest.fixture
def job(tiny_config: dict[str, Any], tiny_model: str, tmp_path: Path) -> dict[str, Any]:
    """A run without dropout, which clients of one batch draw together."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in Path(tiny_model).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    without = {key: 0.0 for key in config if "dropout_prob" in key}
    (folder / "config.json").write_text(json.dumps(config | without))
    return {
        **tiny_config,
        "model": str(folder),
        "optimizer": "sgd",
        "client-ranks": "2,4,3",
        "num-server-rounds": 2,
    }


def end(
    job: dict[str, Any], folder: Path, **changes: Any
) -> tuple[Any, dict[str, Any]]:
    grid_settings = {k: changes.pop(k) for k in ("reverse", "tamper") if k in changes}
    settings = {key.replace("_", "-"): value for key, value in changes.items()}
    path, _, server = run(
        {**job, "output-dir": str(folder), **settings}, **grid_settings
    )
    model = server.strategy.global_model(None)
    flat = {} if model is None else model.named_tensors()
    return metrics(path), flat


@pytest.mark.parametrize("strategy", METHODS)
def test_every_strategy_ends_as_it_does_one_by_one(job, tmp_path, strategy):
    one, expected = end(job, tmp_path / "one", strategy=strategy)
    many, found = end(job, tmp_path / "many", strategy=strategy, clients_per_batch=3)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    for column in ("train_loss", "clients"):
        torch.testing.assert_close(
            torch.tensor(many[column].iloc[1:].to_numpy()),
            torch.tensor(one[column].iloc[1:].to_numpy()),
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize("correction", ["control-variates", "fedprox", "fedzmg"])
def test_every_correction_ends_as_it_does_one_by_one(job, tmp_path, correction):
    chosen: dict[str, Any] = {"drift_correction": correction}
    if correction == "fedprox":
        chosen["proximal_mu"] = 1.0
    _, expected = end(job, tmp_path / "one", **chosen)
    _, found = end(job, tmp_path / "many", clients_per_batch=3, **chosen)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_the_order_of_messages_changes_nothing(job, tmp_path):
    _, expected = end(job, tmp_path / "one", clients_per_batch=2)
    _, found = end(job, tmp_path / "two", clients_per_batch=2, reverse=True)
    for name, value in expected.items():
        assert value.equal(found[name])


def test_one_that_cannot_train_leaves_the_others_to_it(job, tmp_path, monkeypatch):
    from ilora_app.node import instructions
    from ilora_app.wire import WireError

    read, calls = instructions.Instructions.read.__func__, []

    def first_fails(cls: Any, message: Any, records: Any, keep: bool) -> Any:
        if keep:
            calls.append(1)
            if len(calls) == 1:
                raise WireError("this client does not hold its factors")
        return read(cls, message, records, keep)

    monkeypatch.setattr(instructions.Instructions, "read", classmethod(first_fails))
    found, _ = end(job, tmp_path / "run", clients_per_batch=3)
    assert list(found["clients"].iloc[1:]) == [2, 3]


def test_batches_are_as_large_as_the_setting_says(job, tmp_path, monkeypatch):
    sizes = []
    answer = FaultyGrid._answer

    def counted(self: Any, messages: Any) -> Any:
        sizes.append(len(messages))
        return answer(self, messages)

    monkeypatch.setattr(FaultyGrid, "_answer", counted)
    end(job, tmp_path / "run", clients_per_batch=2, num_server_rounds=1)
    assert sizes.count(2) == 1  # and the third node by itself
