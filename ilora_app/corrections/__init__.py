"""Drift corrections by name: a server half and a client half each.

A correction adds a term to the gradients of local training. It knows factors and the
head, never a model or a strategy, so any strategy can carry any of them.
"""

from ilora_app.corrections.control_variates import (
    ControlVariates,
    ControlVariatesClient,
)

__all__ = ["ControlVariates", "ControlVariatesClient"]
