"""Drift corrections: a server half and a client half each.

A correction adds a term to the gradients of local training. It knows factors and the
head, never a model or a method; a method says with which scopes it makes sense.
"""

from ilora_app.corrections.contributions import Holder
from ilora_app.corrections.control_variates import (
    ControlVariates,
    ControlVariatesClient,
)

__all__ = ["ControlVariates", "ControlVariatesClient", "Holder"]
