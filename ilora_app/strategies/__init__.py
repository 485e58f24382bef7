"""The methods by name. One file a method."""

from ilora_app.corrections import ControlVariates
from ilora_app.settings import Settings
from ilora_app.strategies.base import LoraStrategy
from ilora_app.strategies.federation import Federation
from ilora_app.strategies.ilora import ILoRA
from ilora_app.strategies.journal import Recorder

STRATEGIES: dict[str, type[LoraStrategy]] = {"ilora": ILoRA}


def build(
    settings: Settings, federation: Federation, recorder: Recorder
) -> LoraStrategy:
    """Make the strategy that the settings name, with its drift correction."""
    run, method = settings.run, settings.method
    correction = None
    if method.drift_correction == ControlVariates.name:
        correction = ControlVariates(
            normalisation=method.control_normalisation,
            basis=method.control_basis,
            scope=method.control_scope,
        )
    strategy = STRATEGIES[run.strategy]
    return strategy(
        **strategy.options(settings),
        fraction_train=run.fraction_train,
        fraction_evaluate=run.fraction_evaluate,
        min_train_nodes=run.min_train_nodes,
        min_evaluate_nodes=run.min_evaluate_nodes,
        min_available_nodes=run.min_available_nodes,
        lora_scaling=settings.model.lora_scaling,
        seed=run.seed,
        drift_correction=correction,
        federation=federation,
        recorder=recorder,
    )


def problems(settings: Settings) -> dict[str, str]:
    """Settings that the named strategy cannot have: key -> what is wrong."""
    return {}


__all__ = ["STRATEGIES", "ILoRA", "LoraStrategy", "build", "problems"]
