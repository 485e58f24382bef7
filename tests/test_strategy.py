"""A strategy of somebody else, and a strategy in somebody else's ServerApp."""

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord

from ilora_app import client_app, wire
from ilora_app.corrections import ControlVariates
from ilora_app.lora.factors import AdapterState, mean_head
from ilora_app.lora.factors import LoraFactors as Factors
from ilora_app.lora.initialisation import standard_factors
from ilora_app.methods import METHODS, Method
from ilora_app.methods.state import Aggregate, GlobalState, Share, weights_of
from ilora_app.strategies import ILoRA
from ilora_app.tasks.loading import load_backbone
from tests.controlled import control_of
from tests.local_run import FaultyGrid, metrics, run


class MeanOfFactors(Method):
    """Averages zero-padded factors: the least that a strategy has to say."""

    def begin(self, initial):
        return GlobalState(initial)

    def share(self, state, rank):
        return Share(state.adapter.cut(rank))

    def aggregate(self, state, updates):
        rank, weights = state.adapter.factors.rank, weights_of(updates)
        padded = [u.adapter.pad(rank).factors for u in updates]
        pairs = {
            module: tuple(
                sum(w * p[module][side] for w, p in zip(weights, padded, strict=True))
                for side in (0, 1)
            )
            for module, _ in state.adapter.factors.items()
        }
        head = mean_head([u.adapter.head for u in updates], weights)
        return Aggregate(GlobalState(AdapterState(Factors(pairs), head)))


@pytest.mark.slow
@pytest.mark.parametrize("correction", ["control-variates", "none"])
def test_any_strategy_carries_control_variates(run_config, monkeypatch, correction):
    monkeypatch.setitem(METHODS, "mean", MeanOfFactors)
    run_config |= {"strategy": "mean", "drift-correction": correction}
    run_config["initialisation"] = "standard"
    folder, _, server = run(run_config)
    assert metrics(folder)["loss"].iloc[-1] < metrics(folder)["loss"].iloc[0]
    carried = server.strategy.drift_correction
    assert (carried is not None) == (correction == "control-variates")
    if carried:
        flat = control_of(server.strategy)
        assert all(value.abs().sum() > 0 for value in flat.values())


@pytest.mark.slow
def test_control_variates_change_the_result(run_config, tmp_path):
    with_them = metrics(run(run_config | {"num-server-rounds": 3})[0])
    run_config |= {"drift-correction": "none", "output-dir": str(tmp_path / "none")}
    without = metrics(run(run_config | {"num-server-rounds": 3})[0])
    # All c are zero in round 1, so the two part only after it.
    assert with_them["loss"][1] == without["loss"][1]
    assert with_them["loss"][2] != without["loss"][2]


@pytest.mark.slow
def test_ilora_runs_in_any_server_app(run_config):
    """Flower's own interface: start() with arrays, configs and evaluate_fn."""
    from ilora_app.server import preflight

    prepared = preflight.prepare(run_config)
    backbone = load_backbone(prepared.settings.model, prepared.labels, 0)
    factors = standard_factors(backbone.shapes(), 8, torch.Generator().manual_seed(0))
    initial = AdapterState(factors, backbone.initial_head())
    seen = []

    def evaluate_fn(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        seen.append((server_round, len(arrays)))
        return MetricRecord({"score": float(server_round)})

    strategy = ILoRA(fraction_train=1.0, drift_correction=ControlVariates())
    result = strategy.start(
        grid=FaultyGrid(client_app.app, run_config, 3),
        initial_arrays=wire.model_record(initial.named_tensors()),
        num_rounds=2,
        timeout=60,
        train_config=ConfigRecord({"note": "mine"}),
        evaluate_fn=evaluate_fn,
    )
    assert [number for number, _ in seen] == [0, 1, 2]
    assert result.evaluate_metrics_serverapp[2]["score"] == 2.0
    assert set(result.train_metrics_clientapp) == {1, 2}
    assert set(result.evaluate_metrics_clientapp) == {1, 2}
    model = AdapterState.from_named_tensors(wire.model_tensors(result.arrays))
    assert model.factors.rank == 8  # what was learned, over W0 itself
