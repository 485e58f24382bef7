"""Writes the global model with its scores by class, and what each rank holds."""

from logging import WARNING
from pathlib import Path

from flwr.supercore import log

from ilora_app.federation.strategy import LoraStrategy
from ilora_app.runs import class_scores
from ilora_app.runs.adapter import save_adapter
from ilora_app.server.evaluation import CentralEvaluation
from ilora_app.server.preflight import RunInputs
from ilora_app.tasks.whole_model import WholeModel


class ModelWriter:
    """Writes models of one run in PEFT's format, or whole.

    Where clients keep models of their own, and with ``save-adapters = false``, there is
    nothing to write.

    Args:
        prepared: model, labels and settings of the run.
        strategy: whose models they are.
        evaluation: measures them, for their cards.

    """

    def __init__(
        self, prepared: RunInputs, strategy: LoraStrategy, evaluation: CentralEvaluation
    ) -> None:
        self._prepared = prepared
        self._strategy = strategy
        self._evaluation = evaluation
        save = prepared.settings.run.save_adapters
        self._nothing = strategy.method.personal or not save

    def save_global(self, folder: Path) -> None:
        """Write adapter/ into a folder, or model/ where the whole model trains.

        Beside it lies what it tells of each class of the test split.
        """
        self._save_by_class(folder)
        if self._nothing:
            return
        backbone = self._prepared.backbone
        if isinstance(backbone, WholeModel):
            backbone.install(self._strategy.global_model())
            backbone.pretrained.save_pretrained(folder / "model")
            backbone.processor.save_pretrained(folder / "model")
            return
        self._save(folder / "adapter", None)

    def save_ranks(self, folder: Path) -> None:
        """Write adapter-r<rank>/ for each rank into a folder."""
        if self._nothing or isinstance(self._prepared.backbone, WholeModel):
            return
        for rank in self._strategy.membership.ranks:
            self._save(folder / f"adapter-r{rank}", rank)

    def _save_by_class(self, folder: Path) -> None:
        """Write classes.csv and confusion.csv; no run ends for want of them."""
        if self._strategy.method.personal or not self._prepared.labels:
            return
        self._evaluation.result(None, self._strategy.global_model())
        if self._evaluation.by_class:
            try:
                class_scores.write(folder, self._evaluation.by_class)
            except OSError as error:
                log(WARNING, "scores by class cannot be written: %s", error)

    def _save(self, folder: Path, rank: int | None) -> None:
        backbone, model = self._prepared.backbone, self._strategy.global_model(rank)
        save_adapter(
            folder,
            model,
            self._prepared.settings,
            self._prepared.labels,
            backbone.processor,
            self._evaluation.result(rank, model),
            backbone.fused,
            backbone.config,
        )
