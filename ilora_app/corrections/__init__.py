"""Drift corrections: a server half and a client half each.

A correction adds a term to the gradients of local training. It knows factors and the
head, never a model or a method; a method says with which scopes it makes sense.
"""

from ilora_app.corrections.control_variates import (
    ControlVariates,
    ControlVariatesClient,
)
from ilora_app.corrections.correction import (
    ClientCorrection,
    Correction,
    Holder,
    Returned,
    StepHook,
)
from ilora_app.corrections.registry import client_half, server_half

__all__ = [
    "ClientCorrection",
    "ControlVariates",
    "ControlVariatesClient",
    "Correction",
    "Holder",
    "Returned",
    "StepHook",
    "client_half",
    "server_half",
]
