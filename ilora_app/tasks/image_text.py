"""Image-text classification: rows of images and texts -> pixels and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ilora_app.settings import DataSettings
from ilora_app.settings.options import names
from ilora_app.tasks import cache, vision
from ilora_app.tasks.examples import Batch, Examples
from ilora_app.tasks.metrics import ClassScores
from ilora_app.tasks.text import filled, token_blanks
from ilora_app.tasks.vision import ImageExamples

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class ImageTextExamples(Examples):
    """Images with their class ids, and the tokens of the text beside each."""

    images: ImageExamples
    rows: list[dict[str, list[int]]]
    tokenizer: Any

    def __len__(self) -> int:
        return len(self.images)

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Pixels (batch, channels, height, width), tokens (batch, length), labels."""
        tokens = filled([self.rows[i] for i in indices], self.blanks())
        return tokens | self.images.batch(indices, generator)

    @property
    def augmented(self) -> bool:
        """Whether the images are mirrored and shifted in training."""
        return self.images.augmented

    def blanks(self) -> dict[str, tuple[int, bool]]:
        """As the tokenizer pads."""
        return token_blanks(self.tokenizer)

    def scores(self) -> ClassScores:
        """Loss, accuracy and macro F1."""
        return ClassScores()


def encode(
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    processor: Any,
    where: str,
) -> ImageTextExamples:
    """Make examples of an image and a text column, cutting at ``max-length`` tokens.

    Raises:
        DataError: there are no images, or a class is none of ``labels``.

    """
    images = vision.encode(data, settings, labels, processor.image_processor, where)
    (column,), tokenizer = names(settings.text_columns), processor.tokenizer

    def encode() -> list[dict[str, list[int]]]:
        texts = ["" if text is None else str(text) for text in data[column][:]]
        return tokens_of(tokenizer, texts, settings.max_length)

    how = (column, settings.max_length)
    rows = cache.rows(data, tokenizer, how, encode) if len(data) else []
    return ImageTextExamples(images, rows, tokenizer)


def tokens_of(
    tokenizer: Any, texts: Sequence[str], length: int
) -> list[dict[str, list[int]]]:
    """Tokens of texts, each cut at a length."""
    encoded = tokenizer(list(texts), truncation=True, max_length=length)
    keys = ("input_ids", "attention_mask")
    return [{key: encoded[key][i] for key in keys} for i in range(len(texts))]


def joined(parts: Sequence[ImageTextExamples]) -> ImageTextExamples:
    """Put examples of one processor behind one another."""
    return replace(
        parts[0],
        images=vision.joined([part.images for part in parts]),
        rows=[row for part in parts for row in part.rows],
    )
