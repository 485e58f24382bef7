"""The drift corrections by name, made from the settings."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ilora_app.corrections.control_variates import (
    ControlVariates,
    ControlVariatesClient,
)
from ilora_app.corrections.correction import NAME, ClientCorrection, Correction
from ilora_app.corrections.directed_client import DirectedClient
from ilora_app.corrections.fedadamw import FedAdamW
from ilora_app.corrections.fedglomo import FedGLOMO, FedGLOMOClient
from ilora_app.corrections.fedlada import FedLADA
from ilora_app.corrections.fedprox import MU, FedProx, FedProxClient
from ilora_app.corrections.fedsmoo import LAMBDA, RHO, FedSMOO
from ilora_app.corrections.fedsmoo_client import FedSMOOClient
from ilora_app.corrections.fedzmg import FedZMG, FedZMGClient
from ilora_app.corrections.memory import ClientMemory
from ilora_app.corrections.second_moments import SecondMoments
from ilora_app.corrections.summed_variates import SummedVariates
from ilora_app.lora.factors import AdapterState
from ilora_app.settings import MethodSettings


def server_half(
    settings: MethodSettings,
    scope: str = "all",
    turns: bool = False,
    projected: bool = False,
    summed: bool = False,
) -> Correction | None:
    """The correction of a run, once ``drift-correction`` is not ``auto``.

    Args:
        settings: of the run.
        scope: ``head`` where factors begin anew in every round.
        turns: factors have another basis in every round.
        projected: factors are coordinates in projectors that all clients share.
        summed: the server sees sums over clients alone.

    """
    made = _directed(settings, scope, turns, projected)
    if made is not None:
        return made
    if settings.drift_correction == SummedVariates.name and summed:
        how = settings.control_normalisation, settings.control_scope
        return SummedVariates(*how, settings.control_weights)
    if settings.drift_correction == ControlVariates.name:
        return ControlVariates(
            normalisation=settings.control_normalisation,
            basis=settings.control_basis,
            scope=settings.control_scope,
            weights=settings.control_weights,
        )
    if settings.drift_correction == FedProx.name:
        return FedProx(settings.proximal_mu)
    if settings.drift_correction == FedSMOO.name:
        return FedSMOO(settings.fedsmoo_rho, settings.fedsmoo_lambda)
    if settings.drift_correction == FedGLOMO.name:
        return FedGLOMO(settings.fedglomo_beta)
    return FedZMG() if settings.drift_correction == FedZMG.name else None


def _directed(
    settings: MethodSettings, scope: str, turns: bool, projected: bool
) -> Correction | None:
    sync, name = settings.moment_sync, settings.drift_correction
    if sync == "auto":
        by_entry = name in (FedLADA.name, SecondMoments.name) and not turns
        sync = "means" if by_entry and scope == "all" else "block-means"
        if projected and name == SecondMoments.name:
            sync = "ajive"
    if name == SecondMoments.name:
        return SecondMoments(sync, projected)
    if name == FedAdamW.name:
        return FedAdamW(settings.fedadamw_gamma, sync, scope, turns)
    if name == FedLADA.name:
        return FedLADA(settings.fedlada_alpha, sync, scope, turns)
    return None


def client_half(
    settings: MethodSettings,
    facts: Mapping[str, Any],
    sent: Mapping[str, Tensor] | None,
    start: AdapterState,
    returned: Collection[str],
    memory: ClientMemory,
    server_round: int,
    last_taken: int,
) -> ClientCorrection:
    """The correction of a client in a round; without any, one that does nothing.

    Args:
        settings: of the run; the server decides whether there is a correction.
        facts: of the message, those of the server's half among them.
        sent: tensors of the server's half; None where it has sent none.
        start: what training starts from: the factors and the head received.
        returned: names of what goes back to the server.
        memory: what this client keeps.
        server_round: this round.
        last_taken: round in which the server last took this client's upload.

    """
    name = str(facts.get(NAME, ""))
    if sent is not None and not name:
        return ControlVariatesClient(
            sent,
            start.factors,
            memory,
            settings.control_basis,
            server_round,
            last_taken,
            settings.control_estimator,
        )
    if name in (FedAdamW.name, FedLADA.name, SecondMoments.name):
        return DirectedClient(facts, sent or {}, returned)
    if name == FedSMOO.name:
        weights, own = (float(facts[RHO]), float(facts[LAMBDA])), (start, returned)
        return FedSMOOClient(
            *weights, sent or {}, *own, memory, server_round, last_taken
        )
    if name == FedGLOMO.name:
        return FedGLOMOClient(sent or {}, start, returned)
    if name == FedProx.name:
        return FedProxClient(float(facts[MU]))
    return FedZMGClient() if name == FedZMG.name else ClientCorrection()
