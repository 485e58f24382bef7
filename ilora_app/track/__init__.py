"""Experiment trackers over the events of a run: one adapter a file, all optional.

Each writes into the run folder and needs no network. ``wandb`` goes online where
WANDB_MODE says so, and ``mlflow`` writes to the server that MLFLOW_TRACKING_URI names
where that is set.
"""

from ilora_app.track.trackers import Trackers, problems

__all__ = ["Trackers", "problems"]
