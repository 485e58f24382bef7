"""``patience`` counts evaluations of the metric, whoever measures it."""

from dataclasses import replace

import pytest

from ilora_app.server.early_stop import reason
from ilora_app.settings import KeepingSettings, RunSettings, Settings


def settings(metric: str, patience: int = 2) -> Settings:
    return replace(
        Settings(),
        run=RunSettings(patience=patience),
        keeping=KeepingSettings(best_metric=metric),
    )


def rows(metric: str, values: list[float | None]) -> list[dict]:
    first = {"round": 0, metric: 9.0}  # an untrained model counts for nothing
    return [first, *({"round": i, metric: v} for i, v in enumerate(values, 1))]


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([0.5, 0.4, 0.5], True),
        ([0.5, 0.4, 0.6], False),
        ([0.5, None, None, None], False),  # rounds without an evaluation
        ([0.5, None, 0.4, None, 0.3], True),
        ([None, None, None], False),
    ],
)
def test_evaluations_are_counted(values, stops):
    metric = "held_out_accuracy"
    said = reason(settings(metric), rows(metric, values))
    assert bool(said) == stops
    if stops:
        assert said == "2 evaluations without a better held_out_accuracy"


def test_less_is_better_of_a_loss():
    values = [0.5, 0.6, 0.5]
    assert reason(settings("client_loss_mean"), rows("client_loss_mean", values))
    falling = [0.5, 0.4, 0.3]
    assert not reason(settings("client_loss_mean"), rows("client_loss_mean", falling))
