"""The ServerApp: check the config, meet the nodes, run the strategy, save the model."""

from logging import INFO, WARNING
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.supercore import log

from ilora_app import checks, strategies, telling, wire
from ilora_app.config import ConfigError
from ilora_app.keeper import Keeper
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.initialisation import standard_factors
from ilora_app.meeting import evaluate_on, meet, told
from ilora_app.quiet import quiet_libraries, show_plainly
from ilora_app.runs.adapter import save_adapter
from ilora_app.runs.folder import RunFolder
from ilora_app.runs.lock import BusyError
from ilora_app.runs.partition_plot import draw
from ilora_app.strategies.federation import Federation, FederationError
from ilora_app.strategies.rounds import Row
from ilora_app.strategies.snapshot import Snapshot
from ilora_app.tasks import partitions, training
from ilora_app.tasks.causal_lm import LanguageExamples
from ilora_app.tasks.generation import exact_match
from ilora_app.tasks.whole_model import WholeModel

quiet_libraries()
show_plainly(ConfigError, FederationError, BusyError)
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation.

    Raises:
        ConfigError: mistakes in the run config, before any node is asked.
        FederationError: no node can take part.
        BusyError: another server is at work in the run folder.

    """
    prepared = checks.prepare(context.run_config)
    federation = meet(grid, prepared)
    Server(prepared, federation, context.run_id).run(grid)


class Server:
    """One run: the strategy, its evaluation, and what it leaves behind."""

    def __init__(
        self, prepared: checks.Prepared, federation: Federation, run_id: int
    ) -> None:
        self.settings, self.backbone = prepared.settings, prepared.backbone
        self.labels, self.test = prepared.labels, prepared.test
        self.federation = federation
        self.resumed = prepared.resumed
        begun = self.resumed.checkpoint if self.resumed else None
        rows = begun.rows if begun else []
        place = self.resumed.folder if self.resumed else None
        self.folder = RunFolder(self.settings, run_id, place, rows)
        self.strategy = strategies.build(self.settings, federation, self.folder)
        if begun:
            self.strategy.resume(Snapshot(begun.tensors, begun.facts), rows)
            log(INFO, "Going on after round %d", begun.round)
        best = begun.best if begun else None
        self.run_key = prepared.run_key
        self.keeper = Keeper(
            self.strategy,
            self.settings,
            self.folder.path,
            self.run_key,
            self.save_global,
            best,
            self.backbone.fingerprint,
        )
        self.strategy.after_round = self.keeper.keep
        self.rank = max([*self.settings.ranks, *federation.ranks])
        self._results: dict[int | None, dict[str, float]] = {}

    def run(self, grid: Grid) -> list[Row]:
        """Run all rounds, save the adapters, and return a row for each round."""
        with self.folder.outcome():
            return self._run(grid)

    def _run(self, grid: Grid) -> list[Row]:
        run = self.settings.run
        log(INFO, "Run folder: %s", self.folder.path)
        self.draw_partitions()
        telling.beginning(self.folder, self.settings, self.federation, self.labels)
        self.strategy.evaluate_on = evaluate_on(self.settings, grid)
        self.strategy.start(
            grid,
            ArrayRecord() if self.resumed else self.initial_arrays(),
            num_rounds=run.num_server_rounds,
            timeout=run.round_timeout,
            train_config=told(self.labels, self.run_key),
            evaluate_config=told(self.labels, self.run_key),
            evaluate_fn=self.evaluate,
        )
        self.save()
        self.keeper.close()
        telling.end(self.folder, self.strategy, self.settings.keeping.report)
        log(INFO, "Run folder: %s", self.folder.path)
        return self.folder.rows

    def initial_arrays(self) -> ArrayRecord:
        """Make the factors at r_max and the head that training starts from."""
        if self.strategy.whole_model:
            factors = LoraFactors({})
        elif self.settings.model.initialisation == "qr":
            factors = self.backbone.directions(self.rank)
        else:
            generator = torch.Generator().manual_seed(self.settings.run.seed)
            factors = standard_factors(self.backbone.shapes(), self.rank, generator)
        initial = AdapterState(factors, self.backbone.initial_head())
        return wire.encode_tensors(initial.named_tensors())

    def evaluate(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Loss and accuracy on the test split; of every rank where that is due."""
        self._results = {}
        if self.strategy.personal or not self.strategy.is_due(server_round):
            return None
        model = AdapterState.from_named_tensors(wire.decode_tensors(arrays))
        self._results = {None: self.measure(model)}
        found = dict(self._results[None])
        run = self.settings.run
        every = run.rank_eval_every
        due = every and server_round and server_round % every == 0
        if due or server_round == run.num_server_rounds:
            for rank in sorted(set(self.federation.ranks)):
                held = self._model(rank)
                same = held is self._model(None)
                self._results[rank] = (
                    self._results[None] if same else self.measure(held)
                )
                for name, value in self._results[rank].items():
                    found[f"{name}_r{rank}"] = value
        return MetricRecord(dict(found))

    def save(self) -> None:
        """Write the global model, and adapter-r<rank>/ for each rank."""
        self.save_global(self.folder.path)
        personal, whole = self.strategy.personal, isinstance(self.backbone, WholeModel)
        if personal or whole or not self.settings.run.save_adapters:
            return
        for rank in sorted(set(self.federation.ranks)):
            self._save(self.folder.path / f"adapter-r{rank}", rank)

    def save_global(self, folder: Path) -> None:
        """Write adapter/ into a folder, or model/ where the whole model trains.

        Where clients keep models of their own there is nothing to write.
        """
        if self.strategy.personal or not self.settings.run.save_adapters:
            return
        if isinstance(self.backbone, WholeModel):
            self.backbone.install(self._model(None))
            self.backbone.pretrained.save_pretrained(folder / "model")
            self.backbone.processor.save_pretrained(folder / "model")
            return
        self._save(folder / "adapter", None)

    def _model(self, rank: int | None) -> AdapterState:
        return self.strategy.model(self.strategy.started(), rank)

    def measure(self, model: AdapterState) -> dict[str, float]:
        """Loss and metrics of one model on the test split."""
        self.backbone.install_merged(model)
        size = self.settings.training.eval_batch_size
        found = training.evaluate(self.backbone, self.test, size)
        tokens = self.settings.data.generate_tokens
        if tokens and isinstance(self.test, LanguageExamples):
            found["exact_match"] = exact_match(self.backbone, self.test, tokens, size)
        return found

    def draw_partitions(self) -> None:
        """Draw who has which classes, where nodes hold partitions of the data set."""
        parts = [m.partitions for m in self.federation.members if m.partitions]
        if not self.settings.data.partition_plot or not parts:
            return
        data, seed = self.settings.data, self.settings.run.seed
        column = data.label_column or data.partition_by
        if not column:
            log(WARNING, "No plot of the partitions: name a label-column to count")
            return
        dealt = partitions.dealer(data, parts[0], seed)
        draw(dealt, column, parts[0], self.folder.path / "partitions.png")

    def _save(self, folder: Path, rank: int | None) -> None:
        model = self._model(rank)
        save_adapter(
            folder,
            model,
            self.settings,
            self.labels,
            self.backbone.processor,
            self._results.get(rank) or self.measure(model),
            self.backbone.fused,
            self.backbone.config,
        )
