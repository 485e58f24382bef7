"""The test split as examples, encoded once a process for the server and its clients."""

from functools import lru_cache

from ilora_app.settings import DataSettings, ModelSettings
from ilora_app.tasks.data import test_rows
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.places import DataError
from ilora_app.tasks.remembered import remembered
from ilora_app.tasks.task import TASKS


def encoded_test(
    model: ModelSettings,
    data: DataSettings,
    labels: tuple[str, ...],
    seed: int,
    whole_model: bool = False,
) -> Examples:
    """Encode the rows of the test split.

    Args:
        model: settings of the model, whose tokenizer or image processor encodes.
        data: settings of the data, its columns by name.
        labels: names of the classes; none without classes.
        seed: of the order of the rows.
        whole_model: every weight is trained.

    Raises:
        DataError: there is no such split, or a class is none of ``labels``, or its
            texts are all blank.
        ModelError: the tokenizer lacks a token that the task needs.

    """
    told_apart = test_rows(data, seed)._fingerprint
    return _encoded(told_apart, model, data, labels, seed, whole_model)


@lru_cache(maxsize=4)
def _encoded(
    fingerprint: str,
    model: ModelSettings,
    data: DataSettings,
    labels: tuple[str, ...],
    seed: int,
    whole_model: bool,
) -> Examples:
    backbone = load_backbone(model, labels, seed, whole_model)
    rows, where = test_rows(data, seed), f"the split {data.test_split}"
    made = TASKS[model.task].encode(rows, data, labels, backbone.processor, where)
    if len(rows) and not len(made):  # a language model has no rows of blank texts
        raise DataError.openly(
            f"text-columns = {data.text_columns!r}: all {len(rows)} rows of {where} "
            "are blank; expected texts to evaluate on"
        )
    return remembered(made, backbone)
