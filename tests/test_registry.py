"""The registry: names, Flower's interface, and what a run says of its strategy."""

import inspect
import logging

import pytest
from flwr.serverapp.strategy import Strategy

import ilora_app.strategies as strategies
from ilora_app.federation.event_log import Silent
from ilora_app.federation.membership import Membership
from ilora_app.methods import BOUNDS, METHODS
from ilora_app.server import preflight
from ilora_app.settings import RunSettings, Settings, parsing

NAMES = tuple(METHODS)


def test_every_name_is_a_flower_strategy_that_can_be_imported():
    assert NAMES[0] == Settings().run.strategy
    assert set(BOUNDS) < set(NAMES)
    for method in METHODS.values():
        kind = getattr(strategies, method.__name__)
        assert issubclass(kind, Strategy)
        assert kind.__name__ in strategies.__all__
        made = kind(fraction_train=0.5, min_train_nodes=3, min_available_nodes=4)
        chosen = made.participation
        assert (chosen.fraction_train, chosen.min_train_nodes) == (0.5, 3)
        assert type(made.method) is method
        assert kind.client_half is method.client_half


def test_a_strategy_takes_what_the_method_takes_and_nothing_else():
    made = strategies.ILoRA(decomposition="svd", seed=3, lora_scaling=2.0)
    assert made.method.decomposition == "svd"
    assert (made.participation.seed, made.lora_scaling) == (3, 2.0)
    shown = inspect.signature(strategies.ILoRA).parameters
    assert {"decomposition", "fraction_train", "drift_correction"} <= set(shown)
    with pytest.raises(TypeError, match="hetlora_gamma"):
        strategies.ILoRA(hetlora_gamma=0.5)
    with pytest.raises(RuntimeError, match="no global model yet"):
        made.global_model()


@pytest.mark.parametrize("name", NAMES)
def test_the_summary_is_a_tree_that_names_the_method(name):
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("flwr")
    logger.addHandler(handler)
    try:
        settings = Settings(run=RunSettings(strategy=name))
        made = strategies.build(settings, Membership(), Silent())
        made.summary()
    finally:
        logger.removeHandler(handler)
    assert any("Fraction: train (1.00)" in line for line in lines)
    correction = "second-moments (ajive)" if name == "fedgalore" else "none"
    assert any(f"Drift correction: {correction}" in line for line in lines)
    own = [line for line in lines if type(made.method).__name__ in line]
    assert len(own) == 1
    shown = len(lines) - lines.index(own[0]) - 1
    assert shown == len(made.method.details())


def test_an_unknown_name_prints_the_list(run_config):
    with pytest.raises(parsing.ConfigError) as caught:
        preflight.prepare(run_config | {"strategy": "fedprox"})
    assert "strategy = 'fedprox': expected one of ilora, fedit" in str(caught.value)
    assert all(name in str(caught.value) for name in NAMES)


def test_a_setting_that_the_method_does_not_use_is_refused(run_config):
    with pytest.raises(parsing.ConfigError) as caught:
        preflight.prepare(
            run_config
            | {"strategy": "flora", "decomposition": "qr", "hetlora-gamma": 0.5}
        )
    assert caught.value.problems == [
        "decomposition = 'qr': is not used, as flora has no such setting",
        "hetlora-gamma = 0.5: is not used, as flora has no such setting",
    ]
