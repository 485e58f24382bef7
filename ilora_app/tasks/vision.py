"""Image classification: rows of a data set -> batches of pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional
from transformers import BaseImageProcessor

from ilora_app.settings import DataSettings
from ilora_app.tasks import depth, undecoded
from ilora_app.tasks.examples import Batch, Examples
from ilora_app.tasks.labels import label_ids
from ilora_app.tasks.metrics import ClassScores
from ilora_app.tasks.places import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_KEPT_BYTES = 2**31
"""Resized pixels kept in memory for one set of examples; the rest is read again."""

# What Pillow raises for a file that is none of its images, is torn, or is a bomb.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class ImageExamples(Examples):
    """Encoded images with their class ids, in a fixed order."""

    images: Sequence[dict[str, Any]]
    labels: list[int]
    processor: BaseImageProcessor
    augment: bool
    where: str
    _pixels: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Pixels of shape (batch, channels, height, width), scaled and normalised."""
        pixels = torch.stack([self._resized(i) for i in indices])
        if generator is not None and self.augment:
            pixels = flipped_and_cropped(pixels, generator)
        labels = torch.tensor([self.labels[i] for i in indices])
        return {"pixel_values": _normalised(pixels, self.processor), "labels": labels}

    @property
    def augmented(self) -> bool:
        """Whether they are mirrored and shifted in training."""
        return self.augment

    def scores(self) -> ClassScores:
        """Loss, accuracy and macro F1."""
        return ClassScores()

    def _resized(self, index: int) -> Tensor:
        """Pixels of one image, resized and cropped by the processor: uint8."""
        if index in self._pixels:
            return self._pixels[index]
        image = read(self.images[index], f"image {index} of {self.where}")
        made = self.processor(
            images=image, do_rescale=False, do_normalize=False, return_tensors="np"
        )
        pixels = torch.from_numpy(np.asarray(made["pixel_values"][0], dtype=np.uint8))
        if (len(self._pixels) + 1) * pixels.numel() <= _KEPT_BYTES:
            self._pixels[index] = pixels
        return pixels


def encode(
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    processor: BaseImageProcessor,
    where: str,
) -> ImageExamples:
    """Make examples of the image column; pixels are read when they are needed.

    Raises:
        DataError: it holds no images, or a class is none of ``labels``.

    """
    feature = data.features[settings.label_column]
    ids = label_ids(data[settings.label_column][:], feature, labels)
    images = encoded(data, settings.image_column)
    return ImageExamples(images, ids, processor, settings.augment, where)


def joined(parts: Sequence[ImageExamples]) -> ImageExamples:
    """Put examples of one processor behind one another."""
    first = parts[0]
    return ImageExamples(
        [image for part in parts for image in part.images],
        [label for part in parts for label in part.labels],
        first.processor,
        first.augment,
        "all partitions",
    )


def encoded(data: Dataset, column: str) -> list[dict[str, Any]]:
    """Images as files or their bytes, not yet read.

    Raises:
        DataError: the column holds something else.

    """
    from datasets import Image as ImageColumn

    kind = ImageColumn(decode=False)
    return undecoded.rows_of(data, column, kind, "image-column", "images")


def read(image: dict[str, Any], what: str) -> Image.Image:
    """Read one image as RGB of eight bits, upright.

    Raises:
        DataError: it cannot be read.

    """
    try:
        source = io.BytesIO(image["bytes"]) if image["bytes"] else image["path"]
        with Image.open(source) as opened:
            return depth.of_eight_bits(depth.upright(opened)).convert("RGB")
    except _UNREADABLE as error:
        name = f" ({image['path']})" if image.get("path") else ""
        whole = f"{what}{name} cannot be read: {error}"
        raise DataError(whole, "an image of its data cannot be read") from error


def flipped_and_cropped(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images, and shift each by up to an eighth of its side.

    What a shift leaves open is filled by reflection, so that every image keeps its
    size: shape (batch, channels, height, width) in and out.
    """
    count, _, height, width = pixels.shape
    mirrored = torch.rand(count, generator=generator) < 0.5
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
    margin = max(height, width) // 8
    padded = functional.pad(pixels.float(), [margin] * 4, mode="reflect").to(
        pixels.dtype
    )
    shifts = torch.randint(0, 2 * margin + 1, (count, 2), generator=generator)
    cut = [
        image[:, top : top + height, left : left + width]
        for image, (top, left) in zip(padded, shifts.tolist(), strict=True)
    ]
    return torch.stack(cut)


def _normalised(pixels: Tensor, processor: BaseImageProcessor) -> Tensor:
    """Scale and normalise by the processor's numbers."""
    values = pixels.float()
    if processor.do_rescale:
        values = values * processor.rescale_factor
    if processor.do_normalize:
        mean, std = (
            torch.tensor(numbers)[:, None, None]
            for numbers in (processor.image_mean, processor.image_std)
        )
        values = (values - mean) / std
    return values
