"""One round of several clients of one process, trained as one batch."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from flwr.app import RecordDict
from torch import Tensor

from ilora_app.node.local_round import LocalRound
from ilora_app.tasks import stacked_training
from ilora_app.tasks.stacked_training import StackedClient


def train_all(rounds: Sequence[LocalRound]) -> list[RecordDict]:
    """Train clients of one process as one batch; contents of the replies, in order.

    Args:
        rounds: of clients that are :func:`alike`.

    """
    first = rounds[0]
    first.backbone.install(first.start, first.offset, first.instructions.base)
    if len(rounds) == 1:
        return [first.train()]
    trained = stacked_training.train(
        first.backbone,
        [
            StackedClient(
                one.start,
                one.offset,
                one.examples,
                one.seed,
                one.correction.hook,
                [partial(_penalty, one), one.correction.penalty],
            )
            for one in rounds
        ],
        first.settings,
        first.names,
        first.node.settings.head.rate,
    )
    return [one.finish(*found) for one, found in zip(rounds, trained, strict=True)]


def alike(one: LocalRound, other: LocalRound) -> bool:
    """Whether two clients can train as one batch."""
    bases = one.instructions.base, other.instructions.base
    return (
        bool(one.names)
        and one.backbone is other.backbone
        and bool(one.backbone.shapes())  # fails where every weight is trained
        and one.settings == other.settings
        and _step_alike(one, other)
        and list(one.names) == list(other.names)
        and one.private is None
        and not one.backbone.settings.use_dora
        and one.record is None
        and not one.half.frozen(one.start.named_tensors())
        and not one.correction.trains_apart
        and bases[0].keys() == bases[1].keys()
        and all(value.equal(bases[1][name]) for name, value in bases[0].items())
    )


def _step_alike(one: LocalRound, other: LocalRound) -> bool:
    """Whether a step is one of the same rates: those of rsLoRA hang on the rank."""
    ranks = one.start.factors.rank, other.start.factors.rank
    return not one.backbone.settings.use_rslora or ranks[0] == ranks[1]


def _penalty(one: LocalRound, parameters: Mapping[str, Tensor]) -> Any:
    return one.half.penalty(parameters, one.instructions.rank)
