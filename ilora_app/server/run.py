"""One run: the strategy, its evaluation, and what it leaves behind."""

from functools import partial
from logging import INFO

import torch
from flwr.app import ArrayRecord
from flwr.serverapp import Grid
from flwr.supercore import log

from ilora_app import methods, strategies, wire
from ilora_app.federation.limits import Limits
from ilora_app.federation.membership import Membership
from ilora_app.federation.ridge_head import RidgeHead
from ilora_app.federation.rounds import Row
from ilora_app.federation.snapshot import Snapshot
from ilora_app.federation.spool import Spool
from ilora_app.federation.waiting import UntrainedError
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.initialisation import standard_factors
from ilora_app.runs.checkpoint import Checkpoints
from ilora_app.runs.folder import RunFolder
from ilora_app.runs.parts import PartsFolder
from ilora_app.runs.releases import Releases
from ilora_app.runs.writing import PlaceError, of_the_disk
from ilora_app.server import early_stop, recording
from ilora_app.server.checkpointing import Checkpointer
from ilora_app.server.enrolment import evaluate_on, facts_for_nodes
from ilora_app.server.evaluation import CentralEvaluation
from ilora_app.server.preflight import RunInputs
from ilora_app.server.saving import ModelWriter
from ilora_app.settings.head import RIDGE
from ilora_app.tasks.features import output_layer


class Server:
    """Runs a federation in a run folder.

    Args:
        prepared: settings, model, data and the run that goes on, if one does.
        membership: members met before.
        grid: of the run.
        run_id: Flower's id of it.

    Raises:
        BusyError: another server is at work in the run folder.
        PlaceError: the run folder cannot be written.

    """

    def __init__(
        self, prepared: RunInputs, membership: Membership, grid: Grid, run_id: int
    ) -> None:
        self.prepared, self.membership, self._grid = prepared, membership, grid
        settings, resumed = prepared.settings, prepared.resumed
        checkpoint = resumed.checkpoint if resumed else None
        rows = checkpoint.rows if checkpoint else []
        place = resumed.folder if resumed else None
        self.folder = RunFolder(settings, run_id, place, rows)
        on = evaluate_on(settings, grid)
        parts, releases = PartsFolder(self.folder.path), Releases(self.folder.path)
        self.strategy = strategies.build(
            settings, membership, self.folder, on, _ridge_head(prepared), releases
        )
        if self.strategy.drift_correction:
            self.strategy.drift_correction.keep_in(parts)
        self.strategy.spool = Spool(self.folder.path)
        if checkpoint:
            parts.resume(checkpoint.facts, checkpoint.round)
            taken = Snapshot(checkpoint.tensors, checkpoint.facts)
            self.strategy.resume(taken, rows)
            log(INFO, "Going on after round %d", checkpoint.round)
        self.evaluation = CentralEvaluation(prepared, self.strategy)
        self.writer = ModelWriter(prepared, self.strategy, self.evaluation)
        self.checkpointer = Checkpointer(
            self.strategy,
            settings,
            self.folder.path,
            parts,
            prepared.run_key,
            self.writer.save_global,
            checkpoint.best if checkpoint else None,
            prepared.backbone.fingerprint,
        )

    def run(self) -> list[Row]:
        """Run all rounds, save the adapters, and return a row for each round.

        Raises:
            UntrainedError: no round had usable replies; the run folder is complete.
            PlaceError: there is no room for the model; the last checkpoint is kept.

        """
        with self.folder.outcome():
            return self._run()

    def _run(self) -> list[Row]:
        prepared, folder = self.prepared, self.folder
        settings, labels = prepared.settings, prepared.labels
        log(INFO, "Run folder: %s", folder.path)
        about = settings, self.membership, labels, prepared.test, prepared.run_key
        recording.begin(folder, *about)
        untrained: UntrainedError | None = None
        try:
            self.strategy.start(
                self._grid,
                ArrayRecord() if prepared.resumed else self.initial_arrays(),
                num_rounds=settings.run.num_server_rounds,
                timeout=settings.run.round_timeout,
                train_config=facts_for_nodes(labels, prepared.run_key),
                evaluate_config=facts_for_nodes(labels, prepared.run_key),
                evaluate_fn=self.evaluation,
                after_round=self.checkpointer.keep,
                stop=partial(early_stop.reason, settings),
            )
        except UntrainedError as error:  # the run folder is made whole all the same
            untrained = error
        self._save()
        self.checkpointer.close()
        recording.say_worth(folder)
        recording.end(folder, self.strategy, settings.keeping.report)
        log(INFO, "Run folder: %s", folder.path)
        if untrained:
            raise untrained
        return folder.rows

    def _save(self) -> None:
        """Write what the run is for; it has failed where there is no room for that."""
        place = self.folder.path
        try:
            self.writer.save_global(place)
            self.writer.save_ranks(place)
        except Exception as error:  # each library has its own for a full disk
            if not of_the_disk(error):
                raise
            newest = Checkpoints(place).newest
            kept = f"; with room, resume = {str(place)!r} goes on from {newest}"
            raise PlaceError(
                f"the model cannot be written: {error}{kept if newest else ''}"
            ) from error

    def initial_arrays(self) -> ArrayRecord:
        """Make the factors at r_max and the head that training starts from."""
        settings, backbone = self.prepared.settings, self.prepared.backbone
        rank = max([*settings.ranks, *self.membership.ranks])
        if self.strategy.method.whole_model:
            factors = LoraFactors({})
        elif settings.model.initialisation == "qr":
            factors = backbone.directions(rank)
        else:
            generator = torch.Generator().manual_seed(settings.run.seed)
            factors = standard_factors(backbone.shapes(), rank, generator)
        initial = AdapterState(factors, backbone.initial_head())
        return wire.model_record(initial.named_tensors())


def _ridge_head(prepared: RunInputs) -> RidgeHead | None:
    """What solves the head, where it is not trained."""
    chosen = prepared.settings.head
    if chosen.head != RIDGE:
        return None
    method = methods.find(prepared.settings.run.strategy)
    trains_together = method.trains and not method.personal
    layer = output_layer(prepared.backbone)
    return RidgeHead(
        layer.name,
        layer.features,
        layer.classes,
        layer.bias,
        chosen.head_ridge,
        chosen.head_refit_every if trains_together else 0,
        Limits(**vars(prepared.settings.limits)),
    )
