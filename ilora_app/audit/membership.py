"""A membership test of a model: its loss on each row, and what an attacker makes of it.

The loss of a row is the cross-entropy of its class, or the mean over the tokens of its
answer.
"""

import random
from typing import Any

import numpy as np
from datasets import Dataset

from ilora_app.audit import rows
from ilora_app.audit.attack import Losses, attack
from ilora_app.export.places import LAST, ReleaseError, find_run
from ilora_app.export.source import Source, open_run
from ilora_app.predict.predictor import Predictor
from ilora_app.settings import DataSettings, options
from ilora_app.settings.kinds import SEQ2SEQ
from ilora_app.tasks.losses import row_terms
from ilora_app.tasks.task import TASKS

FORMAT = 1


def audited(
    model: str,
    members: str = "",
    others: str = "",
    column: str = "",
    which: str = LAST,
    most: int = 5000,
    seed: int = 0,
    batch_size: int = 32,
    base: str = "",
) -> tuple[dict[str, Any], Source | None]:
    """Test a model.

    Args:
        model: folder of a run, or an exported one.
        members: rows that were trained on, as DATA or DATA@SPLIT; empty: those of the
            run's nodes.
        others: rows that were not; empty: the test split of the run.
        column: with the class or the answer; empty: that of the run, else found.
        which: ``last`` or ``best`` round of a run.
        most: rows of each kind; of more, so many are drawn.
        seed: of the draw.
        batch_size: rows at a time.
        base: folder or hub id of the base model of an adapter; empty: found.

    Returns:
        What came of it, and the run, where it is one.

    Raises:
        ReleaseError: the model or the rows cannot be used.
        ModelError, DataError: they cannot be had.

    """
    predictor = Predictor(model, which, base)
    source = None
    if not (options.folder(model) / "ilora.json").is_file():
        source = open_run(find_run(model), which)
    if bool(members) != bool(others):
        raise ReleaseError("expected --members and --non-members, or neither")
    settings, task = rows.settings_of(predictor, source, column), predictor.facts.task
    if members:
        inside, of_members = rows.named(settings, task, members, seed)
        outside, of_others = rows.named(settings, task, others, seed)
    elif source is None:
        raise ReleaseError(f"{model} is no run: expected --members and --non-members")
    else:
        inside, outside = rows.of_run(source)
        of_members = of_others = settings
    found = []
    for part, how, name in (
        (inside, of_members, "members"), (outside, of_others, "non-members"),
    ):  # fmt: skip
        part = _drawn(part, most, seed)
        found.append(losses(predictor, part, how, name, batch_size))
    try:
        result = attack(found[0], found[1], seed)
    except ValueError as error:
        raise ReleaseError(str(error)) from error
    about = {
        "format": FORMAT,
        "attack": "loss threshold (Yeom et al. 2018)",
        "model": which,
        "round": source.round if source else 0,
        "data": [members or "rows of the run's nodes", others or "its test split"],
        "seed": seed,
    }
    return {**about, **result}, source


def losses(
    predictor: Predictor,
    part: Dataset,
    settings: DataSettings,
    name: str,
    batch_size: int,
) -> Losses:
    """Loss of each row: in nats, or a squared error.

    Raises:
        DataError: a row has no class that the model knows.

    """
    facts = predictor.facts
    examples = TASKS[facts.task].encode(
        part, settings, facts.labels, predictor.processor, name
    )
    order, found = examples.order(), np.zeros(len(examples))
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        batch = examples.batch(some)
        labels = batch["labels"]
        if facts.task != SEQ2SEQ:  # whose decoder reads what it is to write
            batch.pop("labels")
        terms, counted = row_terms(facts.task)(predictor.logits(batch).double(), labels)
        found[some] = (terms.sum(dim=1) / counted.sum(dim=1).clamp(min=1)).numpy()
    return found


def _drawn(part: Dataset, most: int, seed: int) -> Dataset:
    if len(part) <= most:
        return part
    return part.select(sorted(random.Random(seed).sample(range(len(part)), most)))
