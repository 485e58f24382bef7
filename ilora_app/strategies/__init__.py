"""The methods by name, server and client half together. One file a method."""

from ilora_app.corrections import ControlVariates
from ilora_app.settings import Settings
from ilora_app.strategies import choice
from ilora_app.strategies.base import LoraStrategy
from ilora_app.strategies.centralized import Centralized
from ilora_app.strategies.client import ClientHalf
from ilora_app.strategies.fedavg_full import FedAvgFull
from ilora_app.strategies.federation import Federation
from ilora_app.strategies.fedex_lora import FedExLoRA
from ilora_app.strategies.fedit import FedIT
from ilora_app.strategies.fedsa_lora import FedSALoRA
from ilora_app.strategies.ffa_lora import FFALoRA
from ilora_app.strategies.flexlora import FlexLoRA
from ilora_app.strategies.flora import FLoRA
from ilora_app.strategies.hetlora import HetLoRA
from ilora_app.strategies.ilora import ILoRA
from ilora_app.strategies.journal import Recorder
from ilora_app.strategies.limits import Limits
from ilora_app.strategies.local import Local
from ilora_app.strategies.lora_a2 import LoRAA2
from ilora_app.strategies.lora_fair import LoRAFAIR
from ilora_app.strategies.rolora import RoLoRA

STRATEGIES: dict[str, type[LoraStrategy]] = {
    "ilora": ILoRA,
    "fedit": FedIT,
    "flora": FLoRA,
    "ffa-lora": FFALoRA,
    "lora-fair": LoRAFAIR,
    "hetlora": HetLoRA,
    "flexlora": FlexLoRA,
    "fedex-lora": FedExLoRA,
    "rolora": RoLoRA,
    "fedsa-lora": FedSALoRA,
    "lora-a2": LoRAA2,
    "centralized": Centralized,
    "local": Local,
    "fedavg-full": FedAvgFull,
}

BOUNDS = ("centralized", "local", "fedavg-full")
"""Names that are no methods of federated LoRA, but what to hold them against."""


def build(
    settings: Settings, federation: Federation, recorder: Recorder
) -> LoraStrategy:
    """Make the strategy that the settings name, with its drift correction."""
    strategy = STRATEGIES[settings.run.strategy]
    settings = resolve(settings)
    run, method = settings.run, settings.method
    correction = None
    if method.drift_correction == ControlVariates.name:
        correction = ControlVariates(
            normalisation=method.control_normalisation,
            basis=method.control_basis,
            scope=method.control_scope,
        )
    return strategy(
        **strategy.options(settings),
        fraction_train=run.fraction_train,
        fraction_evaluate=run.fraction_evaluate,
        min_train_nodes=run.min_train_nodes,
        min_evaluate_nodes=run.min_evaluate_nodes,
        min_available_nodes=run.min_available_nodes,
        lora_scaling=settings.model.lora_scaling,
        seed=run.seed,
        evaluate_every=run.evaluate_every,
        drift_correction=correction,
        federation=federation,
        recorder=recorder,
        limits=Limits(**vars(settings.limits)),
    )


def resolve(settings: Settings) -> Settings:
    """Put what ``auto`` means under the named strategy in its place."""
    return choice.resolve(STRATEGIES[settings.run.strategy], settings)


def problems(settings: Settings) -> dict[str, str]:
    """Settings that the named strategy cannot have: key -> what is wrong."""
    return choice.problems(STRATEGIES[settings.run.strategy], settings)


__all__ = [
    "BOUNDS",
    "STRATEGIES",
    "Centralized",
    "ClientHalf",
    "FFALoRA",
    "FLoRA",
    "FedAvgFull",
    "FedExLoRA",
    "FedIT",
    "FedSALoRA",
    "FlexLoRA",
    "HetLoRA",
    "ILoRA",
    "LoRAA2",
    "LoRAFAIR",
    "Local",
    "LoraStrategy",
    "RoLoRA",
    "build",
    "problems",
    "resolve",
]
