"""The server's own evaluation: the global model, and each rank's, on the test split."""

from logging import WARNING

from flwr.app import ArrayRecord, MetricRecord
from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation.strategy import LoraStrategy
from ilora_app.lora.factors import AdapterState
from ilora_app.runs.class_scores import ByClass
from ilora_app.server.preflight import RunInputs
from ilora_app.tasks import training
from ilora_app.tasks.causal_lm import LanguageExamples
from ilora_app.tasks.generation import exact_match, same_text
from ilora_app.tasks.metrics import ClassScores
from ilora_app.tasks.remembered import plain
from ilora_app.tasks.seq2seq import SequenceExamples


class CentralEvaluation:
    """Measures after every round that is due; called by the rounds of a strategy.

    Args:
        prepared: model, test split and settings of the run.
        strategy: whose model it is.

    Attributes:
        hits: by rank, None for the global model, which rows of the test split the
            model measured last tells, in their order; none without classes.
        only_class: the one that the global model takes every row for, if it does.
        by_class: scores of the global model that was measured last, by class.

    """

    def __init__(self, prepared: RunInputs, strategy: LoraStrategy) -> None:
        self._settings = prepared.settings
        self._backbone, self._test = prepared.backbone, prepared.test
        self._strategy = strategy
        self._results: dict[int | None, dict[str, float]] = {}
        self.hits: dict[int | None, list[bool]] = {}
        self.only_class: int | None = None
        self.by_class: ByClass | None = None
        self._labels = prepared.labels

    def __call__(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Loss and accuracy on the test split; of every rank where that is due."""
        self._results = {}
        strategy, last = self._strategy, self._strategy.num_rounds
        due = strategy.evaluation.is_due(server_round, last)
        if strategy.method.personal or not due:
            return None
        model = AdapterState.from_named_tensors(wire.model_tensors(arrays))
        self._results = {None: self._measured(None, model)}
        found = dict(self._results[None])
        if server_round and self.only_class is not None:
            name = self._labels[self.only_class] if self._labels else self.only_class
            text = "Round %d: the model takes every row of the test split for %r"
            log(WARNING, text, server_round, name)
        every = self._settings.run.rank_eval_every
        due = bool(every and server_round and server_round % every == 0)
        if due or server_round == last:
            for rank in strategy.membership.ranks:
                held = strategy.global_model(rank)
                same = _equal(held, model)  # at r_max it often is the global model
                if same:
                    self._results[rank] = self._results[None]
                    if None in self.hits:
                        self.hits[rank] = self.hits[None]
                else:
                    self._results[rank] = self._measured(rank, held)
                for name, value in self._results[rank].items():
                    found[f"{name}_r{rank}"] = value
        return MetricRecord(dict(found))

    def result(self, rank: int | None, model: AdapterState) -> dict[str, float]:
        """What was measured of the last round's model at a rank, or is measured now.

        Args:
            rank: None is the global model.
            model: at that rank.

        """
        if rank not in self._results:
            self._results[rank] = self._measured(rank, model)
        return self._results[rank]

    def _measured(self, rank: int | None, model: AdapterState) -> dict[str, float]:
        """Loss and metrics of one model on the test split."""
        self._backbone.install_merged(model)
        size, test = self._settings.training.eval_batch_size, plain(self._test)
        scores = test.scores()
        found = training.evaluate(self._backbone, self._test, size, scores)
        if isinstance(scores, ClassScores):
            placed = sorted(zip(test.order(), scores.hits, strict=True))
            self.hits[rank] = [hit for _, hit in placed]
            if rank is None:
                self.only_class = scores.only_class
                self.by_class = ByClass.of(self._labels, *scores.told)
        tokens = self._settings.data.generate_tokens
        if tokens and isinstance(test, LanguageExamples) and all(test.prompts):
            found["exact_match"] = exact_match(self._backbone, test, tokens, size)
        if tokens and isinstance(test, SequenceExamples):
            found["exact_match"] = same_text(self._backbone, test, tokens, size)
        return found


def _equal(one: AdapterState, other: AdapterState) -> bool:
    """Whether two models have the same numbers."""
    a, b = one.named_tensors(), other.named_tensors()
    return a.keys() == b.keys() and all(value.equal(b[n]) for n, value in a.items())
