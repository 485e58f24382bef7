"""The drift corrections by name, made from the settings."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ilora_app.corrections.control_variates import (
    ControlVariates,
    ControlVariatesClient,
)
from ilora_app.corrections.correction import NAME, ClientCorrection, Correction
from ilora_app.corrections.fedprox import MU, FedProx, FedProxClient
from ilora_app.corrections.fedzmg import FedZMG, FedZMGClient
from ilora_app.corrections.memory import ClientMemory
from ilora_app.lora.factors import LoraFactors
from ilora_app.settings import MethodSettings


def server_half(settings: MethodSettings) -> Correction | None:
    """The correction of a run, once ``drift-correction`` is not ``auto``."""
    if settings.drift_correction == ControlVariates.name:
        return ControlVariates(
            normalisation=settings.control_normalisation,
            basis=settings.control_basis,
            scope=settings.control_scope,
            weights=settings.control_weights,
        )
    if settings.drift_correction == FedProx.name:
        return FedProx(settings.proximal_mu)
    return FedZMG() if settings.drift_correction == FedZMG.name else None


def client_half(
    settings: MethodSettings,
    facts: Mapping[str, Any],
    sent: Mapping[str, Tensor] | None,
    received: LoraFactors,
    memory: ClientMemory,
    server_round: int,
    last_taken: int,
) -> ClientCorrection:
    """The correction of a client in a round; without any, one that does nothing.

    Args:
        settings: of the run; the server decides whether there is a correction.
        facts: of the message, those of the server's half among them.
        sent: c, where the server's half has sent it.
        received: the factors received.
        memory: what this client keeps.
        server_round: this round.
        last_taken: round in which the server last took this client's upload.

    """
    if sent is not None:
        return ControlVariatesClient(
            sent,
            received,
            memory,
            settings.control_basis,
            server_round,
            last_taken,
            settings.control_estimator,
        )
    name = facts.get(NAME)
    if name == FedProx.name:
        return FedProxClient(float(facts[MU]))
    return FedZMGClient() if name == FedZMG.name else ClientCorrection()
