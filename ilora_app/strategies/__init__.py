"""The methods as Flower strategies, with the constructor names of Flower's FedAvg.

``ILoRA(fraction_train=0.5, decomposition="svd")`` is a
:class:`~ilora_app.federation.strategy.LoraStrategy` that has the method
:class:`ilora_app.methods.ilora.ILoRA`.
"""

from collections.abc import Callable
from functools import partial

from ilora_app import methods
from ilora_app.corrections import server_half
from ilora_app.federation.blind_private import BlindPrivateStrategy
from ilora_app.federation.blind_strategy import BlindStrategy
from ilora_app.federation.clipping import Quantile
from ilora_app.federation.deadlines import Deadlines
from ilora_app.federation.evaluation import EVALUATE
from ilora_app.federation.event_log import Recorder
from ilora_app.federation.limits import Limits
from ilora_app.federation.membership import Membership
from ilora_app.federation.participation import Participation
from ilora_app.federation.private_strategy import PrivateStrategy
from ilora_app.federation.record_strategy import RecordStrategy
from ilora_app.federation.release import Release
from ilora_app.federation.ridge_head import RidgeHead
from ilora_app.federation.strategy import LoraStrategy
from ilora_app.methods import (
    centralized,
    fedavg_full,
    fedex_lora,
    fedgalore,
    fedit,
    fedrot_lora,
    fedsa_lora,
    ffa_lora,
    flexlora,
    flora,
    hetlora,
    ilora,
    linear_probe,
    local,
    lora_a2,
    lora_fair,
    raflora,
    rolora,
)
from ilora_app.privacy.budget import Budget
from ilora_app.privacy.spending import Count, Spending
from ilora_app.settings import Settings, kinds
from ilora_app.strategies.method_strategy import MethodStrategy


class ILoRA(MethodStrategy, method=ilora.ILoRA):
    """ILoRA: concatenated QR of factors of unequal rank."""


class FedIT(MethodStrategy, method=fedit.FedIT):
    """FedIT: means of the factors."""


class FLoRA(MethodStrategy, method=flora.FLoRA):
    """FLoRA: stacked factors, merged into the base."""


class FFALoRA(MethodStrategy, method=ffa_lora.FFALoRA):
    """FFA-LoRA: A is frozen, B is averaged."""


class LoRAFAIR(MethodStrategy, method=lora_fair.LoRAFAIR):
    """LoRA-FAIR: means of the factors, and a correction of B."""


class HetLoRA(MethodStrategy, method=hetlora.HetLoRA):
    """HetLoRA: factors weighted by norm, ranks that prune themselves."""


class FlexLoRA(MethodStrategy, method=flexlora.FlexLoRA):
    """FlexLoRA: SVD of the exact mean."""


class FedExLoRA(MethodStrategy, method=fedex_lora.FedExLoRA):
    """FedEx-LoRA: means of the factors, and the residual in the base."""


class RoLoRA(MethodStrategy, method=rolora.RoLoRA):
    """RoLoRA: B and A take turns."""


class FedSALoRA(MethodStrategy, method=fedsa_lora.FedSALoRA):
    """FedSA-LoRA: A is shared, every client keeps its B."""


class LoRAA2(MethodStrategy, method=lora_a2.LoRAA2):
    """LoRA-A2: factors take turns, clients send their top rank slots."""


class RaFLoRA(MethodStrategy, method=raflora.RaFLoRA):
    """raFLoRA: every segment of ranks averaged over who holds it."""


class FedRotLoRA(MethodStrategy, method=fedrot_lora.FedRotLoRA):
    """FedRot-LoRA: factors turned towards each other, then averaged."""


class FedGaLore(MethodStrategy, method=fedgalore.FedGaLore):
    """FedGaLore: projected steps, full-space aggregation, shared second moments."""


class LinearProbe(MethodStrategy, method=linear_probe.LinearProbe):
    """Ridge regression on frozen features: a bound."""


class Centralized(MethodStrategy, method=centralized.Centralized):
    """Pooled data: a bound."""


class Local(MethodStrategy, method=local.Local):
    """No federation: a bound."""


class FedAvgFull(MethodStrategy, method=fedavg_full.FedAvgFull):
    """FedAvg on all weights: a bound."""


def build(
    settings: Settings,
    membership: Membership,
    recorder: Recorder,
    evaluate_on: str = EVALUATE,
    ridge_head: RidgeHead | None = None,
    releases: Count | None = None,
) -> LoraStrategy:
    """Make the strategy that the settings name, with its drift correction.

    Args:
        settings: of the run.
        membership: members met before.
        recorder: receives events.
        evaluate_on: ``evaluate`` or ``train``.
        ridge_head: solves the head; None has it trained.
        releases: keeps how many models a private run has released.

    Raises:
        MethodError: there is no such method.

    """
    settings = methods.resolve(settings)
    run = settings.run
    method = methods.find(run.strategy)
    private = settings.privacy
    kind: Callable[..., LoraStrategy] = LoraStrategy
    # Fewer than a sum is opened of would be drawn in vain.
    sums_over = private.secure_min_nodes if private.secure_aggregation else 0
    if private.secure_aggregation:
        kind = partial(BlindStrategy, least=private.secure_min_nodes)
    if private.dp == "record":
        kind = partial(RecordStrategy, privacy=private)
    if private.dp == "client":
        budget = Budget.of(settings)
        part = private.dp_clip_quantile
        release = Release(
            private.dp_clip,
            budget.multiplier,
            settings.model.lora_scaling,
            quantile=Quantile(part) if part else None,
        )
        spending = Spending(budget, releases)
        kind = partial(PrivateStrategy, release=release, spending=spending)
        if private.secure_aggregation:
            kind = partial(
                BlindPrivateStrategy,
                least=private.secure_min_nodes,
                clip=private.dp_clip,
                spending=spending,
            )
    strategy = kind(
        method.of(settings),
        Participation(
            run.fraction_train,
            run.fraction_evaluate,
            max(run.min_train_nodes, sums_over),
            max(run.min_evaluate_nodes, sums_over),
            settings.least_nodes[0],
            run.seed,
        ),
        lora_scaling=settings.model.lora_scaling,
        evaluate_every=run.evaluate_every,
        evaluate_on=evaluate_on,
        drift_correction=server_half(
            settings.method,
            "all" if "all" in method.control_scopes else "head",
            method.turns_basis(),
            method.projects,
            private.secure_aggregation,
        ),
        membership=membership,
        recorder=recorder,
        limits=Limits(**vars(settings.limits)),
        ridge_head=ridge_head,
        frozen_head=settings.head.is_frozen,
        deadlines=Deadlines.of(settings),
        wire_dtype=run.wire_dtype,
    )
    strategy.evaluation.scored = kinds.kind(settings.model.task).has_accuracy
    return strategy


__all__ = [
    "Centralized",
    "FFALoRA",
    "FLoRA",
    "FedAvgFull",
    "FedExLoRA",
    "FedGaLore",
    "FedIT",
    "FedRotLoRA",
    "FedSALoRA",
    "FlexLoRA",
    "HetLoRA",
    "ILoRA",
    "LinearProbe",
    "LoRAA2",
    "LoRAFAIR",
    "Local",
    "LoraStrategy",
    "MethodStrategy",
    "RaFLoRA",
    "RoLoRA",
    "build",
]
