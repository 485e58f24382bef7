"""The client half around a trainer of one's own: transformers' Trainer, TRL's.

Nothing else of the package imports this room, nor what it needs of transformers.
"""

from ilora_app.trainer.callback import DriftCorrectionCallback
from ilora_app.trainer.client_round import ClientRound
from ilora_app.trainer.processes import ProcessesError, in_processes

__all__ = ["ClientRound", "DriftCorrectionCallback", "ProcessesError", "in_processes"]
