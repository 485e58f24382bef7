"""MLflow: ``mlflow/`` in the run folder, or the server of MLFLOW_TRACKING_URI."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_LONGEST = 500
_MOST = 100


class MlflowTracker:
    """``mlflow ui --backend-store-uri <run folder>/mlflow`` shows it."""

    def __init__(
        self, folder: Path, config: Mapping[str, object], after: int | None
    ) -> None:
        place = folder / "mlflow"
        given = os.environ.get("MLFLOW_TRACKING_URI")
        if not given:
            # MLflow asks for a yes to the store of plain files, which needs no
            # database and is all that mlflow-skinny has.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._client = MlflowClient(given or place.as_uri())
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "ilora")
        known = self._client.get_experiment_by_name(name)
        experiment = (
            known.experiment_id if known else self._client.create_experiment(name)
        )
        self._run = self._client.create_run(
            experiment, run_name=folder.name
        ).info.run_id
        params = [Param(k, str(v)[:_LONGEST]) for k, v in config.items()]
        for start in range(0, len(params), _MOST):
            self._client.log_batch(self._run, params=params[start : start + _MOST])
        if after is not None:
            self._client.set_tag(self._run, "resumed_after_round", str(after))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log one batch."""
        now = int(time.time() * 1000)
        metrics = [Metric(_name(k), v, now, step) for k, v in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def note(self, step: int, text: str) -> None:
        """Keep the last line as a tag."""
        self._client.set_tag(self._run, "left_out", f"round {step}: {text}"[:_LONGEST])

    def close(self, status: str) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self._run, _STATUS[status])


def _name(column: str) -> str:
    """Make a name that MLflow accepts: letters, digits, and _-. /."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in column)
