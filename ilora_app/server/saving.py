"""Writes the global model, and what a client of each rank holds."""

from pathlib import Path

from ilora_app.federation.strategy import LoraStrategy
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
        """Write adapter/ into a folder, or model/ where the whole model trains."""
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
        for rank in sorted(set(self._strategy.membership.ranks)):
            self._save(folder / f"adapter-r{rank}", rank)

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
