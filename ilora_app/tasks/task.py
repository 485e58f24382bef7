"""The tasks by name: which model, which processor, and how rows become examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peft import TaskType
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from ilora_app.settings import DataSettings
from ilora_app.settings.model import IMAGE, LANGUAGE, TEXT
from ilora_app.tasks import causal_lm, text, vision
from ilora_app.tasks.examples import Examples

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Task:
    """One kind of task.

    Attributes:
        auto_model: transformers' class that loads the model.
        auto_processor: transformers' class that loads tokenizer or image processor.
        peft_type: as it stands in the config of an exported adapter.
        has_classes: the model has a head for the classes of the data.
        encode: rows -> examples.
        join: examples of several partitions -> one.

    """

    auto_model: Any
    auto_processor: Any
    peft_type: TaskType | None
    has_classes: bool
    encode: Callable[[Dataset, DataSettings, tuple[str, ...], Any, str], Examples]
    join: Callable[[Sequence[Any]], Examples]


def _text(
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    processor: Any,
    where: str,
) -> Examples:
    return text.tokenise(data, settings, labels, processor)


def _language(
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    processor: Any,
    where: str,
) -> Examples:
    return causal_lm.tokenise(data, settings, processor)


TASKS = {
    TEXT: Task(
        AutoModelForSequenceClassification,
        AutoTokenizer,
        TaskType.SEQ_CLS,
        True,
        _text,
        text.joined,
    ),
    IMAGE: Task(
        AutoModelForImageClassification,
        AutoImageProcessor,
        None,
        True,
        vision.encode,
        vision.joined,
    ),
    LANGUAGE: Task(
        AutoModelForCausalLM,
        AutoTokenizer,
        TaskType.CAUSAL_LM,
        False,
        _language,
        causal_lm.joined,
    ),
}
