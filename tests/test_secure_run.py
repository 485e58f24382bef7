"""Runs of which the server sees sums alone, against the same runs in the clear."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import read_events
from tests.local_run import run

# Adam blows up what is rounding alone, in the clear as well: a gradient of 0 or 1e-10.
RANKS = {
    "client-ranks": "2,4,8,16",
    "num-server-rounds": 2,
    "optimizer": "sgd",
    "learning-rate": 0.5,
}
SECURE = {"secure-aggregation": True}


@pytest.fixture(scope="module")
def config(tiny_config, tmp_path_factory) -> Callable[..., dict[str, Any]]:
    def made(**keys: Any) -> dict[str, Any]:
        folder = str(tmp_path_factory.mktemp("run") / "run")
        named = {key.replace("_", "-"): value for key, value in keys.items()}
        return tiny_config | RANKS | {"output-dir": folder} | named

    return made


def product(server) -> torch.Tensor:
    """All that was learned, flat: s B A of every layer, and the head."""
    model = server.strategy.global_model()
    layers = [
        (B.double() @ A.double()).flatten() for _, (B, A) in model.factors.items()
    ]
    return torch.cat([*layers, *(v.double().flatten() for v in model.head.values())])


def near(one, other, error=1e-5) -> bool:
    return float((one - other).norm() / other.norm()) < error


WAYS = {
    "qr": {"decomposition": "qr"},
    "increments": {"decomposition": "qr", "aggregate": "increments"},
    "uniform": {"decomposition": "qr", "control-weights": "uniform"},
    "momentum": {
        "decomposition": "qr",
        "aggregate": "increments",
        "server-momentum": 0.5,
        "drift-correction": "none",
    },
    "fedit": {"strategy": "fedit"},
    "ffa-lora": {"strategy": "ffa-lora", "drift-correction": "control-variates"},
    "rolora": {"strategy": "rolora"},
    "fedsa-lora": {"strategy": "fedsa-lora"},
    "ridge": {"decomposition": "qr", "head": "ridge", "head-refit-every": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secure_run_is_the_plain_run(config, way):
    keys = config(**WAYS[way])
    _, _, plain = run(keys, 4)
    folder, _, secure = run(config(**WAYS[way], **SECURE), 4)
    assert not read_events(folder, "reply-left-out")
    assert not read_events(folder, "model-unchanged")
    assert near(product(secure), product(plain))
    rows, other = secure.folder.rows[-1], plain.folder.rows[-1]
    for key in ("accuracy", "client_accuracy_mean", "held_out_accuracy", "clients"):
        if key in other:
            assert rows[key] == pytest.approx(other[key], abs=1e-9), key
    for key in ("train_loss", "client_loss_mean", "client_accuracy_spread", "loss"):
        assert rows[key] == pytest.approx(other[key], rel=1e-4, abs=1e-7), key
