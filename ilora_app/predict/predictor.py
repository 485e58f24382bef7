"""Loads what was exported, or what a run left, and predicts with it."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from ilora_app.export import whole
from ilora_app.export.facts import NAME, Facts
from ilora_app.export.source import LAST, ReleaseError, find_run, open_run
from ilora_app.predict import answers
from ilora_app.predict.answers import Prediction
from ilora_app.predict.inputs import Row
from ilora_app.settings import DataSettings, options
from ilora_app.settings.kinds import SEQ2SEQ, kind
from ilora_app.settings.options import names
from ilora_app.tasks import causal_lm, seq2seq, tags
from ilora_app.tasks.label_lists import words_in
from ilora_app.tasks.loading import load_pretrained
from ilora_app.tasks.models import ModelError, refuse_other_weights
from ilora_app.tasks.modules import has_positions
from ilora_app.tasks.places import DataError
from ilora_app.tasks.task import TASKS
from ilora_app.tasks.text import TextExamples, filled, token_blanks
from ilora_app.tasks.vision import ImageExamples


class Predictor:
    """A model with its tokenizer or image processor, ready to predict.

    Args:
        folder: exported, or of a run; or the name of a run.
        which: ``last`` or ``best`` round of a run.

    Raises:
        ReleaseError: it is neither, or torn.
        ModelError: the base model of an adapter cannot be had.

    """

    def __init__(self, folder: str, which: str = LAST) -> None:
        path = options.folder(folder)
        if (path / NAME).is_file():
            if which != LAST:
                raise ReleaseError(f"--round {which}: {path} is no run, and has one")
            self.facts = Facts.read(path)
        else:
            source = open_run(find_run(folder), which)
            path = source.model
            self.facts = Facts.of(source, merged=source.whole)
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
            raise ReleaseError(f"{path} cannot be loaded: {cause}") from None
        self._path = path
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(self._device)

    @property
    def columns(self) -> tuple[str, ...]:
        """What a row holds: the texts, or the image's file."""
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
            DataError: an image cannot be read.
            ReleaseError: the language model has no room for so many tokens, or nothing
                to go on from.

        """
        language = kind(self.facts.task).writes
        prompts = self._prompts(rows, new_tokens) if language else []
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            try:
                if language:
                    these = prompts[start : start + batch_size]
                    texts = self._completed(these, new_tokens)
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

    @torch.inference_mode()
    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """What the model says of a batch without labels, in memory of the CPU."""
        moved = {key: value.to(self._device) for key, value in batch.items()}
        extra = {}
        own = getattr(self.model.config, "image_size", None)
        base = self.model if self.facts.merged else self.model.get_base_model()
        other = self.facts.image_size and own != self.facts.image_size
        if other and has_positions(base):
            extra["interpolate_pos_encoding"] = True
        logits: Tensor = self.model(**moved, **extra).logits
        return logits.cpu()

    def _batch(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Make a batch exactly as training and evaluation make theirs."""
        unknown = [0] * len(rows)
        everything = list(range(len(rows)))
        if kind(self.facts.task).images:
            (column,) = self.columns
            files = [{"bytes": None, "path": row[column]} for row in rows]
            images = ImageExamples(files, unknown, self.processor, False, "the request")
            batch = images.batch(everything)
        else:
            texts = [[row[name] for row in rows] for name in self.columns]
            encoded = self.processor(
                *texts, truncation=True, max_length=self.facts.max_length
            )
            tokens = [{key: encoded[key][i] for key in encoded} for i in everything]
            batch = TextExamples(tokens, unknown, self.processor).batch(everything)
        batch.pop("labels")
        return batch

    def _prompts(self, rows: Sequence[Row], new_tokens: int) -> list[list[int]]:
        """Tokens to go on from; too many lose their beginning.

        An encoder reads them as in training, cut at their end.
        """
        facts = self.facts
        settings = DataSettings(
            prompt_template=facts.prompt_template, max_length=facts.max_length
        )
        if facts.task == SEQ2SEQ:
            return seq2seq.prompts(rows, self.columns, settings, self.processor)
        positions = getattr(self.model.config, "max_position_embeddings", 2**31)
        # The token that is written last needs no position.
        room = positions - new_tokens + 1
        if room < 1:
            raise ReleaseError(
                f"--max-new-tokens {new_tokens}: expected at most {positions}, the "
                "positions of the model"
            )
        prompts = []
        for number, row in enumerate(rows, 1):
            tokens = causal_lm.prompt_tokens(
                row, self.columns, settings, self.processor
            )
            if not tokens:
                raise ReleaseError(
                    f"row {number} of {len(rows)}, {dict(row)}: expected a text that "
                    "has a token at least"
                )
            prompts.append(tokens[-room:])
        return prompts

    @torch.inference_mode()
    def _completed(self, prompts: list[list[int]], new_tokens: int) -> list[str]:
        """Go on from the prompts, greedily."""
        tokenizer = self.processor
        longest = max(len(tokens) for tokens in prompts)
        pad, before = int(tokenizer.pad_token_id), self.facts.task != SEQ2SEQ
        rows = [{"input_ids": t, "attention_mask": [1] * len(t)} for t in prompts]
        # What a decoder goes on from stands before it; an encoder reads it apart.
        blanks = {"input_ids": (pad, before), "attention_mask": (0, before)}
        batch = filled(rows, blanks)
        written = self.model.generate(
            **{key: value.to(self._device) for key, value in batch.items()},
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=pad,
        )
        texts: list[str] = tokenizer.batch_decode(
            written[:, longest if before else 0 :], skip_special_tokens=True
        )
        return texts


def _unloadable(path: Path, task: str, error: Exception) -> str:
    """Say why a tokenizer or an image processor cannot be loaded."""
    what = "image processor" if kind(task).images else "tokenizer"
    cause = whole.reason(error)
    if not kind(task).images and not (path / whole.TOKENIZER).is_file():
        cause = f"there is no {whole.TOKENIZER} in it"
    return f"{path}: its {what} cannot be loaded: {cause}"
