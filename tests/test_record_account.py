"""What is refused where single rows are hidden, and the account of a node."""

import sys

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from ilora_app import wire
from ilora_app.federation import validity
from ilora_app.node import record_part
from ilora_app.node.config import NodeError
from ilora_app.node.data import NodeData
from ilora_app.node.node import Node
from ilora_app.privacy.account import Account, Steps, noise_of
from ilora_app.settings import Settings, parsing

RIGHT = {"dp": "record", "dp-target-epsilon": 4.0}


def settings_of(**keys):
    named = {key.replace("_", "-"): value for key, value in keys.items()}
    return parsing.load(parsing.dump(Settings()) | RIGHT | named)


def test_kinds_of_steps_compose():
    """As dp-accounting composes them itself; never below what one kind costs."""
    parts = (Steps(1.1, 0.05, 40), Steps(2.0, 0.2, 7))
    account, other = Account(), RdpAccountant()
    for part in parts:
        account = account.and_then(part)
        event = PoissonSampledDpEvent(part.rate, GaussianDpEvent(part.multiplier))
        other.compose(event, part.count)
    assert account.epsilon(1e-4) == pytest.approx(other.get_epsilon(1e-4), rel=1e-9)
    assert account.epsilon(1e-4) > Account(parts[:1]).epsilon(1e-4)
    assert account.count == 47
    assert Account().epsilon(1e-4) == 0.0
    twice = account.and_then(parts[1])
    assert twice.steps == (parts[0], Steps(2.0, 0.2, 14))


def test_the_noise_of_a_budget_is_the_least():
    z = noise_of(3.0, 1e-4, 0.1, 200)
    assert 2.99 < Account((Steps(z, 0.1, 200),)).epsilon(1e-4) <= 3.0
    assert noise_of(1e-5, 1e-4, 1.0, 200) == float("inf")


def test_what_makes_no_sense_is_refused_with_a_reason():
    assert not validity.problems(settings_of())
    for key, value in (
        ("head", "ridge"),
        ("drift_correction", "control-variates"),
        ("drift_correction", "fedprox"),
        ("logit_adjustment", 1.0),
        ("clip_grad_norm", 1.0),
        ("private_rank", 2),
        ("dtype", "float16"),
        ("gradient_checkpointing", True),
        ("secure_aggregation", True),
        ("dp_noise_multiplier", 1.0),
        ("dp_target_epsilon", 0.0),
    ):
        name = key.replace("_", "-").replace("dp-noise-multiplier", "dp-target-epsilon")
        assert name in validity.problems(settings_of(**{key: value})), key
    both = validity.problems(settings_of(secure_aggregation=True))
    assert "no place for what a node has spent" in both["secure-aggregation"]
    strategies = ("fedavg-full", "local", "centralized", "linear-probe", "fedgalore")
    for strategy in (*strategies, "hetlora", "fedsa-lora"):
        assert "dp" in validity.problems(settings_of(strategy=strategy)), strategy
    for strategy in ("fedit", "flora", "ffa-lora", "flexlora", "lora-a2", "rolora"):
        assert not validity.problems(settings_of(strategy=strategy)), strategy


@pytest.mark.parametrize("kind", [MessageType.EVALUATE, MessageType.TRAIN])
def test_a_node_says_nothing_that_it_has_measured(kind):
    """Whatever the server asks for."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    settings = settings_of()
    data = NodeData(settings.model, settings.data, 0, 0, 2)
    asked = ConfigRecord({wire.EVALUATE: True})
    message = Message(RecordDict({wire.CONFIG: asked}), 1, kind)
    with pytest.raises(NodeError, match="is in no account"):
        record_part.expected(Node(settings, 2, data), message)
    plain = parsing.load(parsing.dump(Settings()))
    record_part.expected(Node(plain, 2, data), message)


def test_without_opacus_it_is_said_how_to_get_it(monkeypatch):
    """To the server before a run, and by a node that alone has none."""
    monkeypatch.setitem(sys.modules, "opacus", None)
    assert "pip install opacus" in validity.problems(settings_of())["dp"]
    settings = settings_of()
    node = Node(settings, 2, NodeData(settings.model, settings.data, 0, 0, 2))
    with pytest.raises(NodeError, match="not installed on this node"):
        record_part.check(node, 100_000_000)
