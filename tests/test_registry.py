"""The registry: names, Flower's interface, and what a run says of its strategy."""

import logging

import pytest
from flwr.serverapp.strategy import Strategy

import ilora_app.strategies as strategies
from ilora_app import checks, config
from ilora_app.settings import RunSettings, Settings
from ilora_app.strategies import BOUNDS, STRATEGIES
from ilora_app.strategies.federation import Federation
from ilora_app.strategies.journal import Silent

NAMES = tuple(STRATEGIES)


def test_every_name_is_a_flower_strategy_that_can_be_imported():
    assert NAMES[0] == Settings().run.strategy
    assert set(BOUNDS) < set(NAMES)
    for kind in STRATEGIES.values():
        assert issubclass(kind, Strategy)
        assert getattr(strategies, kind.__name__) is kind
        assert kind.__name__ in strategies.__all__
        made = kind(fraction_train=0.5, min_train_nodes=3, min_available_nodes=4)
        assert (made.fraction_train, made.min_train_nodes) == (0.5, 3)


@pytest.mark.parametrize("name", NAMES)
def test_the_summary_is_a_tree_that_names_the_method(name):
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("flwr")
    logger.addHandler(handler)
    try:
        settings = Settings(run=RunSettings(strategy=name))
        made = strategies.build(settings, Federation(), Silent())
        made.summary()
    finally:
        logger.removeHandler(handler)
    assert any("Fraction: train (1.00)" in line for line in lines)
    corrected = "control-variates" if name == "ilora" else "none"
    assert any(f"Drift correction: {corrected}" in line for line in lines)
    own = [line for line in lines if type(made).__name__ in line]
    assert len(own) == 1
    shown = len(lines) - lines.index(own[0]) - 1
    assert shown == len(made.details())


def test_an_unknown_name_prints_the_list(run_config):
    with pytest.raises(config.ConfigError) as caught:
        checks.prepare(run_config | {"strategy": "fedprox"})
    assert "strategy = 'fedprox': expected one of ilora, fedit" in str(caught.value)
    assert all(name in str(caught.value) for name in NAMES)


def test_a_setting_that_the_method_does_not_use_is_refused(run_config):
    with pytest.raises(config.ConfigError) as caught:
        checks.prepare(
            run_config
            | {"strategy": "flora", "decomposition": "svd", "hetlora-gamma": 0.5}
        )
    assert caught.value.problems == [
        "decomposition = 'svd': is not used, as flora has no such setting",
        "hetlora-gamma = 0.5: is not used, as flora has no such setting",
    ]
