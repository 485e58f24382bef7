"""What a node does so that no row of its own can be told, and its account of that.

A node charges its account before it trains, on its disk where it keeps state, and
refuses a round that would exceed the budget. The file is beside the states of rounds,
which go back to the last round that the server has finished: what has left a node in a
round that was cut off is spent all the same.
"""

import json
import math
from dataclasses import dataclass
from importlib.util import find_spec
from logging import INFO
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.supercore import log

from ilora_app import wire
from ilora_app.node import persistence
from ilora_app.node.config import NodeError
from ilora_app.node.node import Node
from ilora_app.privacy.account import Account, Steps, noise_of
from ilora_app.runs import writing
from ilora_app.settings import Settings
from ilora_app.tasks.record_training import Noise

RECORD, _ACCOUNT = "record", "account"


@dataclass(frozen=True)
class RecordPart:
    """Of one round.

    Attributes:
        noise: with which rows are hidden.
        epsilon: that the node has spent, this round included.

    """

    noise: Noise
    epsilon: float


def check(node: Node, rows: int) -> None:
    """See before round 1 that this node can hide its rows, and say how it does.

    Raises:
        NodeError: it cannot, as the run is set up.

    """
    settings = node.settings
    chosen = settings.privacy
    if chosen.dp != RECORD:
        return
    for package in ("opacus", "dp_accounting"):
        if find_spec(package) is None:
            name = package.replace("_", "-")
            raise NodeError.openly(
                f"dp = 'record': needs {name}, which is not installed on this node: "
                "pip install opacus dp-accounting"
            )
    if chosen.dp_delta >= 1 / rows:
        raise NodeError.openly(
            f"dp-delta = {chosen.dp_delta:g}: expected below {1 / rows:g}, one over "
            f"the {rows} rows of this node: to tell all of a few would be within it"
        )
    step = _steps(settings, rows)
    z = _multiplier(settings, step)
    whole = Account((Steps(z, step.rate, step.count * settings.run.num_server_rounds),))
    text = "Private by row: noise %.4g x clip %g, %d steps over %.3g of %d rows each, "
    what = z, chosen.dp_clip, whole.count, step.rate, rows
    spent = whole.epsilon(chosen.dp_delta)
    log(INFO, text + "epsilon %.3g at %g", *what, spent, chosen.dp_delta)


def expected(node: Node, message: Message) -> None:
    """Refuse to say of rows what is in no account.

    Raises:
        NodeError: it is asked to measure a model on them, or for sums over them.

    """
    if node.settings.privacy.dp != RECORD:
        return
    asked: Any = message.content.config_records.get(wire.CONFIG, {})
    if message.metadata.message_type != MessageType.TRAIN or asked.get(wire.EVALUATE):
        raise NodeError.openly(
            "dp = 'record': this node says nothing of its rows but the model that it "
            "has trained: what it measures on them is in no account"
        )


def charge(node: Node, message: Message, context: Context) -> RecordPart | None:
    """Take a round from this node's budget; None where rows are not hidden.

    Raises:
        NodeError: the round would exceed it, what it costs cannot be kept, or what
            rounds before have cost was lost.

    """
    settings = node.settings
    chosen = settings.privacy
    if chosen.dp != RECORD:
        return None
    rows = len(node.data.part().train)
    step, kept = _steps(settings, rows), persistence.place(message, context)
    file = kept / persistence.ACCOUNT if kept else None
    held = max(_in_state(context.state), _in_file(file), key=lambda a: a.count)
    asked: Any = message.content.config_records.get(wire.CONFIG, {})
    if not held.steps and (before := asked.get(wire.TRAINED_IN, 0)):
        raise NodeError.openly(
            f"dp = 'record': this node has trained in round {before} and holds no "
            "account of what that cost (its state-path is another, or was removed): "
            "it trains no more in this run"
        )
    z = held.steps[-1].multiplier if held.steps else _multiplier(settings, step)
    after = held.and_then(Steps(z, step.rate, step.count))
    spent, most = after.epsilon(chosen.dp_delta), chosen.dp_target_epsilon
    if most and spent > most * (1 + 1e-9):
        raise NodeError.openly(
            f"dp-target-epsilon = {most:g}: another round would cost this node "
            f"{spent:.4g}, so it trains no more"
        )
    _keep(after, context.state, file)
    return RecordPart(Noise(chosen.dp_clip, z, step.rate, step.count), spent)


def _steps(settings: Settings, rows: int) -> Steps:
    """Rate and number of the steps of a round; of their noise nothing."""
    size = settings.training.batch_size
    epochs = settings.training.local_epochs * -(-rows // size)
    return Steps(0.0, min(1.0, size / rows), settings.training.local_steps or epochs)


def _multiplier(settings: Settings, step: Steps) -> float:
    """Take z as given, or the least one with which the steps of all rounds fit.

    Raises:
        NodeError: there is none.

    """
    chosen, rounds = settings.privacy, settings.run.num_server_rounds
    if chosen.dp_noise_multiplier:
        return chosen.dp_noise_multiplier
    how = chosen.dp_target_epsilon, chosen.dp_delta, step.rate, step.count * rounds
    found = noise_of(*how)
    if math.isinf(found):
        raise NodeError.openly(
            f"dp-target-epsilon = {chosen.dp_target_epsilon:g}: expected more, or "
            f"fewer steps: no noise keeps {step.count * rounds} of this node within it"
        )
    return found


def _in_state(records: RecordDict) -> Account:
    if _ACCOUNT not in records:
        return Account()
    held: Any = records.config_records[_ACCOUNT]
    parts = held["multipliers"], held["rates"], held["counts"]
    return Account(tuple(Steps(*part) for part in zip(*parts, strict=True)))


def _in_file(file: Path | None) -> Account:
    if file is None or not file.exists():
        return Account()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Account(tuple(Steps(float(z), float(q), int(n)) for z, q, n in found))
    except (OSError, ValueError, TypeError) as error:
        told = (
            "this node cannot read what it has spent of its budget: it does not train"
        )
        raise NodeError(f"{file}: {told}: {error}", told) from error


def _keep(account: Account, records: RecordDict, file: Path | None) -> None:
    parts = [(step.multiplier, step.rate, step.count) for step in account.steps]
    z, q, n = (list(column) for column in zip(*parts, strict=True))
    records[_ACCOUNT] = ConfigRecord({"multipliers": z, "rates": q, "counts": n})
    if file is None:
        return
    try:
        writing.make_flushed(file.parent)
        # Before the round: what has left the node counts whatever happens to it then.
        writing.whole(file, json.dumps(parts) + "\n", flushed=True)
    except OSError as error:
        told = "this node cannot keep what it spends of its budget: it does not train"
        raise NodeError(f"{file}: {told}: {error}", told) from error
