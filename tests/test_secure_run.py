"""Runs of which the server sees sums alone, against the same runs in the clear."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Message

from ilora_app import wire
from ilora_app.federation.waiting import UntrainedError
from ilora_app.lora.factors import AdapterState
from tests.conftest import read_events
from tests.local_run import run

pytestmark = pytest.mark.slow

# Adam blows up what is rounding alone, in the clear as well: a gradient of 0 or 1e-10.
RANKS = {
    "client-ranks": "2,4,8,16",
    "num-server-rounds": 2,
    "optimizer": "sgd",
    "learning-rate": 0.5,
    "decomposition": "qr",
}
SECURE = {"secure-aggregation": True}


def configs(tiny: dict[str, Any], factory: Any) -> Callable[..., dict[str, Any]]:
    """Makes run configs, each with a folder of its own."""

    def made(**keys: Any) -> dict[str, Any]:
        folder = str(factory.mktemp("run") / "run")
        plain = {} if keys.get("strategy", "ilora") == "ilora" else {"decomposition"}
        ranks = {key: value for key, value in RANKS.items() if key not in plain}
        return tiny | ranks | {"output-dir": folder} | keys

    return made


@pytest.fixture
def config(tiny_config, tmp_path_factory) -> Callable[..., dict[str, Any]]:
    return configs(tiny_config, tmp_path_factory)


def product(server) -> torch.Tensor:
    """All that was learned, flat: B A of every layer, and the head."""
    model = server.strategy.global_model()
    layers = [
        (B.double() @ A.double()).flatten() for B, A in model.factors.pairs.values()
    ]
    return torch.cat([*layers, *(v.double().flatten() for v in model.head.values())])


def off(one, other) -> float:
    """Relative distance of two models."""
    one, other = product(one), product(other)
    return float((one - other).norm() / other.norm())


PLAIN = {"drift-correction": "none"}
# Directions that fewer than three nodes hold are in no mean of factors.
HELD = {"client-ranks": "4,8,8,8"}
WAYS = {
    "qr": PLAIN,
    "increments": {"aggregate": "increments", "server-momentum": 0.5} | PLAIN,
    "send": {"aggregate": "increments", "residual": "send"} | PLAIN,
    "control": HELD,
    "uniform": {"control-weights": "uniform", "control-normalisation": "all"} | HELD,
    "fedit": {"strategy": "fedit"} | HELD,
    "ffa-lora": {"strategy": "ffa-lora", "drift-correction": "control-variates"} | HELD,
    "rolora": {"strategy": "rolora"} | HELD,
    "fedsa-lora": {"strategy": "fedsa-lora"} | HELD,
    "ridge": {"head": "ridge", "head-refit-every": 2, "evaluate-on": "train"},
}


MEASURED = {
    "accuracy", "loss", "clients", "train_loss", "client_accuracy_mean",
    "client_accuracy_spread", "client_loss_mean", "held_out_accuracy", "head_examples",
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_secure_run_is_the_plain_run(config, way):
    _, _, plain = run(config(**WAYS[way]), 4)
    folder, _, secure = run(config(**WAYS[way], **SECURE), 4)
    assert not read_events(folder, "reply-left-out")
    assert not read_events(folder, "model-unchanged")
    assert off(secure, plain) < 1e-5
    for row, other in zip(secure.folder.rows, plain.folder.rows, strict=True):
        for key in MEASURED & set(other):
            assert row[key] == pytest.approx(other[key], rel=1e-5, abs=1e-8), key


@pytest.mark.parametrize("way", ["ilora", "flexlora"])
def test_a_sketch_is_near_the_best_cut(config, way):
    keys = {"strategy": way, "num-server-rounds": 1}
    keys |= {"decomposition": "svd"} if way == "ilora" else {}
    _, _, plain = run(config(**keys), 6)
    _, _, secure = run(config(**keys, **SECURE), 6)
    assert off(secure, plain) < 0.02
    last, other = secure.folder.rows[-1], plain.folder.rows[-1]
    assert last["loss"] == pytest.approx(other["loss"], abs=1e-3)


def unchanged(keys: dict[str, Any], nodes: int = 4, **grid: Any) -> str:
    """Run a round that cannot be opened; returns why."""
    keys |= {"num-server-rounds": 1}
    with pytest.raises(UntrainedError):
        run(keys, nodes, **grid)
    folder = Path(keys["output-dir"])
    (event,) = read_events(folder, "model-unchanged")
    left_out = read_events(folder, "reply-left-out") + read_events(
        folder, "node-left-out"
    )
    return "; ".join([event["reason"], *(e["reason"] for e in left_out)])


def stage_of(reply: Message) -> str:
    """Which stage of secure aggregation a reply belongs to."""
    record = reply.content.get(wire.SECURE)
    if isinstance(record, ConfigRecord):
        return next(iter(record))
    kind = reply.metadata.message_type
    return wire.FACTORS if kind == "query.secure" else kind


def dropping(node: int, stage: str) -> Callable[[Message], Message | None]:
    def tamper(reply: Message) -> Message | None:
        gone = reply.metadata.src_node_id == node and reply.has_content()
        return None if gone and stage_of(reply) == stage else reply

    return tamper


@pytest.mark.parametrize("stage", [wire.KEYS, wire.LETTERS, "train"])
def test_a_node_that_drops_out_before_its_sum_is_as_one_that_did_not_train(
    config, stage
):
    """With control variates: the mean of the rest stands for its examples."""
    keys = {"fraction-evaluate": 0.0, "drift-correction": "none"}
    _, _, plain = run(config(**keys), 5, tamper=dropping(2, "train"))
    folder, _, secure = run(config(**keys, **SECURE), 5, tamper=dropping(2, stage))
    assert not read_events(folder, "model-unchanged")
    assert off(secure, plain) < 1e-5
    assert [row.get("clients") for row in secure.folder.rows] == [None, 4, 4]


@pytest.mark.parametrize("stage", [wire.SHARES, "evaluate"])
def test_a_node_that_drops_out_behind_its_sum_is_in_it(config, stage):
    _, _, plain = run(config(**PLAIN), 5)
    secured = config(**PLAIN, **SECURE)
    folder, _, secure = run(secured, 5, tamper=dropping(2, stage))
    assert off(secure, plain) < 1e-5
    assert not read_events(folder, "model-unchanged")
    evaluated = 4 if stage == "evaluate" else 5
    assert secure.folder.rows[-1]["clients_evaluated"] == evaluated


def test_no_direction_is_summed_over_fewer_nodes_than_the_least(config, caplog):
    """Of ranks 2, 4, 8, 16 the fourth direction is the last that three nodes hold."""
    _, _, server = run(config(strategy="fedit", **SECURE), 4)
    assert "hold the directions beyond 4: none is sent" in caplog.text
    begun = AdapterState.from_named_tensors(wire.model_tensors(server.initial_arrays()))
    for module, (B, A) in server.strategy.state.adapter.factors.items():
        assert not B[:, 4:].any()
        assert A[4:].equal(begun.factors[module][1][4:])  # as the seed has drawn it
        assert B[:, :4].any(dim=0).all()
    _, _, server = run(config(**SECURE), 4)  # with control variates
    c = server.strategy.drift_correction.broadcast([], None)
    for B, A in c.factors.pairs.values():
        assert not B[:, 4:].any()
        assert not A[4:].any()
        assert B[:, :4].any()
    # One of the three drops out, and what is left of the sum is not opened.
    keys = config(strategy="fedit", **SECURE, **{"client-ranks": "2,8,8,8,2"})
    assert "too few that are left hold a direction" in unchanged(
        keys, 5, tamper=dropping(2, "train")
    )
