"""The tasks by name: which model, which processor, and how rows become examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from peft import TaskType
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoProcessor,
    AutoTokenizer,
)

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import (
    AUDIO,
    IMAGE,
    IMAGE_TEXT,
    LANGUAGE,
    MULTI_LABEL,
    REGRESSION,
    SEQ2SEQ,
    TAGS,
    TEXT,
)
from ilora_app.tasks import audio, causal_lm, image_text, seq2seq, tags, text, vision
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.image_text_model import CLIPForImageTextClassification

if TYPE_CHECKING:
    from datasets import Dataset

Encode = Callable[["Dataset", DataSettings, tuple[str, ...], Any, str], Examples]


@dataclass(frozen=True)
class Task:
    """One kind of task.

    Attributes:
        auto_model: class that loads the model, of transformers or as they have it.
        auto_processor: transformers' class that loads what reads the rows: tokenizer,
            image processor, both, or what reads recordings.
        peft_type: as it stands in the config of an exported adapter.
        has_classes: the model has a head for names of the data: classes, or tags.
        encode: rows -> examples.
        join: examples of several partitions -> one.
        problem_type: as it stands in transformers' config: which loss.

    """

    auto_model: Any
    auto_processor: Any
    peft_type: TaskType | None
    has_classes: bool
    encode: Encode
    join: Callable[[Sequence[Any]], Examples]
    problem_type: str | None = None


def _of_texts(task: str, problem_type: str, has_classes: bool = True) -> Task:
    """A task on whole texts, or pairs of them."""

    def encode(
        data: Dataset,
        settings: DataSettings,
        labels: tuple[str, ...],
        processor: Any,
        where: str,
    ) -> Examples:
        return text.tokenise(data, settings, labels, processor, where, task)

    return Task(
        AutoModelForSequenceClassification,
        AutoTokenizer,
        TaskType.SEQ_CLS,
        has_classes,
        encode,
        text.joined,
        problem_type,
    )


def _written(
    tokenise: Callable[[Dataset, DataSettings, Any], Examples],
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    processor: Any,
    where: str,
) -> Examples:
    """Examples of a task that learns what to write, and so no labels."""
    return tokenise(data, settings, processor)


TASKS = {
    TEXT: _of_texts(TEXT, "single_label_classification"),
    MULTI_LABEL: _of_texts(MULTI_LABEL, "multi_label_classification"),
    REGRESSION: _of_texts(REGRESSION, "regression", has_classes=False),
    IMAGE: Task(
        AutoModelForImageClassification,
        AutoImageProcessor,
        None,
        True,
        vision.encode,
        vision.joined,
        "single_label_classification",
    ),
    IMAGE_TEXT: Task(
        CLIPForImageTextClassification,
        AutoProcessor,
        None,
        True,
        image_text.encode,
        image_text.joined,
        "single_label_classification",
    ),
    AUDIO: Task(
        AutoModelForAudioClassification,
        AutoFeatureExtractor,
        None,
        True,
        audio.encode,
        audio.joined,
        "single_label_classification",
    ),
    TAGS: Task(
        AutoModelForTokenClassification,
        AutoTokenizer,
        TaskType.TOKEN_CLS,
        True,
        tags.tokenise,
        tags.joined,
    ),
    LANGUAGE: Task(
        AutoModelForCausalLM,
        AutoTokenizer,
        TaskType.CAUSAL_LM,
        False,
        partial(_written, causal_lm.tokenise),
        causal_lm.joined,
    ),
    SEQ2SEQ: Task(
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        TaskType.SEQ_2_SEQ_LM,
        False,
        partial(_written, seq2seq.tokenise),
        seq2seq.joined,
    ),
}
