"""Audio classification: recordings of a data set -> batches of what a model hears."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ilora_app.settings import DataSettings
from ilora_app.tasks import undecoded
from ilora_app.tasks.examples import Batch, Examples
from ilora_app.tasks.labels import label_ids
from ilora_app.tasks.metrics import ClassScores
from ilora_app.tasks.places import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_KEPT_BYTES = 2**31
"""Extracted features kept in memory for one set of examples; the rest is made again."""

_RATES = (1_000, 384_000)
"""Samples a second; a file may claim any, and resampling takes memory by it."""

_SHORTEST = 0.1
"""Seconds; silence follows what is shorter, as convolutions want some samples."""


@dataclass(frozen=True)
class AudioExamples(Examples):
    """Recordings with their class ids, in a fixed order."""

    sounds: Sequence[dict[str, Any]]
    labels: list[int]
    extractor: Any
    seconds: float
    where: str
    _features: dict[int, dict[str, Tensor]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """What the model's own extractor makes of them, filled up to the longest."""
        rows = [self._extracted(i) for i in indices]
        found = {key: _stacked([row[key] for row in rows]) for key in rows[0]}
        return found | {"labels": torch.tensor([self.labels[i] for i in indices])}

    def blanks(self) -> dict[str, tuple[int, bool]]:
        """Silence behind what is shorter."""
        keys = self._extracted(0) if len(self) else ()
        return dict.fromkeys(keys, (0, False))

    def order(self) -> list[int]:
        """The short ones first, so that little is silence."""
        return sorted(range(len(self)), key=self._length)

    @property
    def alone(self) -> bool:
        """Whether all are of one length: models may hear silence behind the others."""
        return len({self._length(i) for i in range(len(self))}) <= 1

    def scores(self) -> ClassScores:
        """Loss, accuracy and macro F1."""
        return ClassScores()

    def _length(self, index: int) -> int:
        return len(next(iter(self._extracted(index).values())))

    def _extracted(self, index: int) -> dict[str, Tensor]:
        if index in self._features:
            return self._features[index]
        rate = int(self.extractor.sampling_rate)
        what = f"recording {index} of {self.where}"
        sound = read(self.sounds[index], rate, self.seconds, what)
        made = self.extractor(sound, sampling_rate=rate, return_tensors="np")
        row = {
            key: torch.from_numpy(np.asarray(made[key][0]))
            for key in self.extractor.model_input_names
            if key in made
        }
        kept = sum(value.nbytes for value in row.values()) * (len(self._features) + 1)
        if kept <= _KEPT_BYTES:
            self._features[index] = row
        return row


def encode(
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    processor: Any,
    where: str,
) -> AudioExamples:
    """Make examples of the audio column; recordings are read when they are needed.

    Raises:
        DataError: it holds no audio, or a class is none of ``labels``.

    """
    feature = data.features[settings.label_column]
    ids = label_ids(data[settings.label_column][:], feature, labels)
    sounds = encoded(data, settings.audio_column)
    return AudioExamples(sounds, ids, processor, settings.max_seconds, where)


def joined(parts: Sequence[AudioExamples]) -> AudioExamples:
    """Put examples of one extractor behind one another."""
    first = parts[0]
    return AudioExamples(
        [sound for part in parts for sound in part.sounds],
        [label for part in parts for label in part.labels],
        first.extractor,
        first.seconds,
        "all partitions",
    )


def encoded(data: Dataset, column: str) -> list[dict[str, Any]]:
    """Recordings as files or their bytes, not yet read.

    Raises:
        DataError: the column holds something else.

    """
    from datasets import Audio

    kind = Audio(decode=False)
    return undecoded.rows_of(data, column, kind, "audio-column", "audio")


def library() -> Any:
    """The library that reads recordings.

    Raises:
        DataError: it is not installed.

    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without its own library
        raise DataError(
            "task = 'audio-classification': reading recordings needs soundfile (pip "
            f"install soundfile; the extra audio names it): {error}",
            "soundfile, which reads recordings, is not installed on it",
        ) from error
    return soundfile


def read(sound: dict[str, Any], rate: int, seconds: float, what: str) -> Any:
    """Read the first seconds of a recording as one channel at a rate: shape (n,).

    Several channels become their mean; another rate is resampled by a polyphase filter.

    Args:
        sound: path or bytes of the file.
        rate: samples a second to have; 0: those of the file.
        seconds: to read at most.
        what: it is, for messages.

    Raises:
        DataError: it cannot be read, has no samples, or such that are no numbers.

    """
    soundfile = library()
    try:
        with soundfile.SoundFile(_source(sound)) as opened:
            own = int(opened.samplerate)
            if not _RATES[0] <= own <= _RATES[1]:
                low, high = _RATES
                raise ValueError(f"{own} samples a second, expected {low} to {high}")
            samples = opened.read(
                math.ceil(seconds * own), dtype="float32", always_2d=True
            ).mean(axis=1)
        if not len(samples):
            raise ValueError("it has no samples")
        if not np.isfinite(samples).all():
            raise ValueError("it has samples that are NaN or infinite")
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        name = f" ({sound['path']})" if sound and sound.get("path") else ""
        whole = f"{what}{name} cannot be read: {error}"
        raise DataError(whole, "a recording of its data cannot be read") from error
    if rate and own != rate:
        from scipy.signal import resample_poly  # seconds that texts do not need

        both = math.gcd(own, rate)
        samples = resample_poly(samples, rate // both, own // both)
    missing = max(0, int(_SHORTEST * rate) - len(samples))
    return np.pad(samples, (0, missing)).astype(np.float32)


def duration(sound: dict[str, Any]) -> float | None:
    """Seconds of a recording; None where it cannot be read."""
    try:
        with library().SoundFile(_source(sound)) as opened:
            return float(opened.frames / opened.samplerate)
    except (DataError, OSError, RuntimeError, TypeError, ValueError):
        return None


def _source(sound: dict[str, Any]) -> Any:
    if not sound:
        raise ValueError("there is none")
    return io.BytesIO(sound["bytes"]) if sound["bytes"] else sound["path"]


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """Fill rows up to the longest with silence: (batch, length, ...)."""
    longest = max(len(row) for row in rows)
    filled = []
    for row in rows:
        sides = (0, 0) * (row.dim() - 1) + (0, longest - len(row))
        filled.append(functional.pad(row, sides))
    return torch.stack(filled)
