"""Loads what was exported, or what a run left, and predicts with it."""

import base64
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from ilora_app.export import base as base_
from ilora_app.export import whole
from ilora_app.export.facts import NAME, Facts
from ilora_app.export.places import LAST, ReleaseError, find_run
from ilora_app.export.source import open_run
from ilora_app.predict import answers
from ilora_app.predict.answers import Prediction
from ilora_app.predict.completion import Writer
from ilora_app.predict.inputs import Row
from ilora_app.settings import options
from ilora_app.settings.kinds import kind
from ilora_app.settings.options import names
from ilora_app.tasks import tags
from ilora_app.tasks.audio import AudioExamples
from ilora_app.tasks.image_text import ImageTextExamples, tokens_of
from ilora_app.tasks.label_lists import words_in
from ilora_app.tasks.loading import load_pretrained
from ilora_app.tasks.models import ModelError, refuse_other_weights
from ilora_app.tasks.modules import forward_options
from ilora_app.tasks.places import DataError
from ilora_app.tasks.task import TASKS
from ilora_app.tasks.text import TextExamples, filled, never_empty, token_blanks
from ilora_app.tasks.vision import ImageExamples


class Predictor:
    """A model with its tokenizer or image processor, ready to predict.

    Args:
        folder: exported, or of a run; or the name of a run.
        which: ``last`` or ``best`` round of a run.
        base: folder or hub id of the base model of an adapter; empty: found.

    Attributes:
        note: what is to be said about the base model; empty: nothing.

    Raises:
        ReleaseError: it is neither, or torn; or its base model is not here.
        ModelError: the base model of an adapter cannot be had.

    """

    def __init__(self, folder: str, which: str = LAST, base: str = "") -> None:
        path = options.folder(folder)
        if (path / NAME).is_file():
            if which != LAST:
                raise ReleaseError(f"--round {which}: {path} is no run, and has one")
            facts = Facts.read(path)
        else:
            source = open_run(find_run(folder), which)
            path = source.model
            facts = Facts.of(source, merged=source.whole)
        place, self.note = facts.base, ""
        if not facts.merged:
            place, self.note = base_.find(facts.base, facts.base_sha256, base)
        self.facts = replace(facts, base=place)
        whole.check(path, self.facts.task, self.facts.merged)
        task = TASKS[self.facts.task]
        try:
            self.processor = task.auto_processor.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            raise ReleaseError(_unloadable(path, self.facts.task, error)) from None
        try:
            self.model = self._model(path).eval()
        except ModelError:
            raise
        except Exception as error:
            # Files of the right form may hold anything, and libraries raise anything.
            cause = whole.reason(error)
            note = f"; {self.note}" if self.note else ""
            raise ReleaseError(f"{path} cannot be loaded: {cause}{note}") from None
        self._path = path
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(self._device)

    @property
    def columns(self) -> tuple[str, ...]:
        """What a row holds: the file of an image or a recording first, and texts."""
        return names(self.facts.columns)

    def predict(
        self, rows: Sequence[Row], top: int, new_tokens: int, batch_size: int = 32
    ) -> Iterator[Prediction]:
        """Predict row by row, in their order.

        Args:
            rows: with all columns.
            top: classes to name.
            new_tokens: that a language model writes at most.
            batch_size: rows at a time.

        Raises:
            DataError: an image or a recording cannot be read.
            ReleaseError: the language model has no room for so many tokens, or nothing
                to go on from.

        """
        language = kind(self.facts.task).writes
        writer = Writer(self.model, self.processor, self.facts, self._device)
        prompts = writer.prompts(rows, new_tokens) if language else []
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            try:
                if language:
                    these = prompts[start : start + batch_size]
                    texts = writer.written(these, new_tokens)
                    yield from map(lambda r, t: Prediction(r, (), t), some, texts)
                else:
                    yield from self._said(some, top)
            except (DataError, ReleaseError):
                raise
            except Exception as error:
                # A tokenizer and a model that do not fit each other, for instance.
                cause = whole.reason(error)
                raise ReleaseError(f"{self._path} cannot predict: {cause}") from None

    def _said(self, rows: Sequence[Row], top: int) -> Iterator[Prediction]:
        """What the model says of rows that it reads whole, or word by word."""
        facts = self.facts
        try:
            if kind(facts.task).reads == "words":
                yield from self._tagged(rows)
                return
            logits = self.logits(self._batch(rows))
            yield from answers.read(facts.task, rows, logits, facts.labels, top)
        except ReleaseError as error:
            raise ReleaseError(f"{self._path}: {error}") from None

    def _tagged(self, rows: Sequence[Row]) -> Iterator[Prediction]:
        """Tag the words of each row, but those behind ``max-length`` tokens."""
        (column,), names = self.columns, self.facts.labels
        words = [words_in(row[column]) for row in rows]
        encoded = tags.split_words(self.processor, words, self.facts.max_length)
        tokens = [{key: encoded[key][i] for key in encoded} for i in range(len(rows))]
        tokens = never_empty(tokens, self.processor)
        logits = self.logits(filled(tokens, token_blanks(self.processor)))
        left = self.processor.padding_side == "left"
        for i, row in enumerate(rows):
            length = len(tokens[i]["input_ids"])
            own = logits[i][-length:] if left else logits[i][:length]
            firsts = tags.first_tokens(encoded, i)
            yield answers.tagged(row, own, names, words[i], firsts)

    def _model(self, path: Path) -> Any:
        """Load the whole model, or the base with the adapter on it."""
        if self.facts.merged:
            refuse_other_weights(str(path), True)
            return TASKS[self.facts.task].auto_model.from_pretrained(
                path,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        settings = self.facts.model_settings
        base, _ = load_pretrained(settings, self.facts.labels, self.facts.seed)
        with warnings.catch_warnings():
            # PEFT warns of tied embeddings, which are a matter of merging.
            warnings.filterwarnings("ignore", message=".*tie")
            return PeftModel.from_pretrained(base, path)

    def without_path(self, text: str) -> str:
        """Write what is said of the model without where it lies on this machine."""
        return text.replace(str(self._path), "the model")

    @torch.inference_mode()
    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """What the model says of a batch without labels, in memory of the CPU."""
        moved = {key: value.to(self._device) for key, value in batch.items()}
        base = self.model if self.facts.merged else self.model.get_base_model()
        extra = forward_options(base, self.facts.model_settings)
        logits: Tensor = self.model(**moved, **extra).logits
        return logits.cpu()

    def _batch(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Make a batch exactly as training and evaluation make theirs."""
        unknown = [0] * len(rows)
        everything = list(range(len(rows)))
        reads, reader, of = kind(self.facts.task), self.processor, "the request"
        if reads.file:
            sent = [_file(row[self.columns[0]], reads.file) for row in rows]
        if reads.file == "audio":
            length = self.facts.max_seconds
            batch = AudioExamples(sent, unknown, reader, length, of).batch(everything)
        elif reads.file:
            pixels = getattr(reader, "image_processor", reader)
            images: Any = ImageExamples(sent, unknown, pixels, False, of)
            if reads.tokens:
                texts = [row[self.columns[1]] for row in rows]
                tokens = tokens_of(reader.tokenizer, texts, self.facts.max_length)
                images = ImageTextExamples(images, tokens, reader.tokenizer)
            batch = images.batch(everything)
        else:
            parts = [[row[name] for row in rows] for name in self.columns]
            encoded = reader(*parts, truncation=True, max_length=self.facts.max_length)
            tokens = [{key: encoded[key][i] for key in encoded} for i in everything]
            tokens = never_empty(tokens, reader)
            batch = TextExamples(tokens, unknown, reader).batch(everything)
        batch.pop("labels")
        return batch


def _file(given: str, kind_of: str) -> dict[str, bytes | str | None]:
    """An image or a recording: the path of its file, or itself as a data URL."""
    if not given.startswith(f"data:{kind_of}/"):
        return {"bytes": None, "path": given}
    try:
        held = base64.b64decode(given.partition(",")[2], validate=True)
    except ValueError:
        held = b""
    return {"bytes": held or b" ", "path": None}


def _unloadable(path: Path, task: str, error: Exception) -> str:
    """Say why a tokenizer or an image processor cannot be loaded."""
    what = "image processor" if kind(task).file == "image" else "feature extractor"
    what = "tokenizer" if kind(task).tokens else what
    cause = whole.reason(error)
    if kind(task).tokens and not (path / whole.TOKENIZER).is_file():
        cause = f"there is no {whole.TOKENIZER} in it"
    return f"{path}: its {what} cannot be loaded: {cause}"
