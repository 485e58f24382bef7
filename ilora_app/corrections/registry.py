"""The drift corrections by name, made from the settings."""

from collections.abc import Mapping

from torch import Tensor

from ilora_app.corrections.control_variates import (
    ControlVariates,
    ControlVariatesClient,
)
from ilora_app.corrections.correction import ClientCorrection, Correction
from ilora_app.corrections.fedprox import FedProx, FedProxClient
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
    sent: Mapping[str, Tensor] | None,
    received: LoraFactors,
    memory: ClientMemory,
    server_round: int,
    last_taken: int,
) -> ClientCorrection:
    """The correction of a client in a round; without any, one that does nothing.

    Args:
        settings: of the run.
        sent: what the server's half has sent; None: nothing. A server that sends c asks
            for control variates, whatever the settings say.
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
    if settings.drift_correction == FedProx.name:
        return FedProxClient(settings.proximal_mu)
    if settings.drift_correction == FedZMG.name:
        return FedZMGClient()
    return ClientCorrection()
