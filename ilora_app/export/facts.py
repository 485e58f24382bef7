"""``ilora.json``: what a prediction needs to know of an exported folder."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilora_app.export.places import STUMBLES, ReleaseError
from ilora_app.settings import DataSettings, ModelSettings, options, parsing
from ilora_app.tasks.columns import read_by

if TYPE_CHECKING:
    from ilora_app.export.source import Source

NAME = "ilora.json"
_FORMAT = 1
# What a run config checks is checked as there.
_KEYS = {
    "task": "task", "dtype": "dtype", "base": "model", "columns": "text-columns",
    "max_length": "max-length", "image_size": "image-size", "seed": "seed",
    "max_seconds": "max-seconds",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """How the inputs were made into batches when the model was trained.

    Attributes:
        task: of the model.
        base: name of the model that was fine-tuned, its hub id or a folder's.
        merged: the folder holds the whole model, not an adapter.
        labels: names of the classes in the order of their ids.
        columns: of the texts, or of the image or the recording, that one first.
        prompt_template: of a language model; empty: see the setting of that name.
        max_length: texts are cut at so many tokens.
        image_size: 0: that of the model.
        dtype: of the frozen model.
        seed: drew the weights that neither the base nor the adapter holds.
        base_sha256: tells a local base from others; empty for one of a hub.
        max_seconds: recordings are cut after so many.

    """

    task: str
    base: str
    merged: bool
    labels: tuple[str, ...]
    columns: str
    prompt_template: str
    max_length: int
    image_size: int
    dtype: str
    seed: int
    base_sha256: str = ""
    max_seconds: float = DataSettings.max_seconds

    @classmethod
    def of(cls, source: "Source", merged: bool) -> "Facts":
        """Take them from a run."""
        model, data = source.settings.model, source.settings.data
        return cls(
            task=model.task,
            base=model.model,
            merged=merged,
            labels=source.labels,
            columns=",".join(read_by(data, model.task)),
            prompt_template=data.prompt_template,
            max_length=data.max_length,
            image_size=model.image_size,
            max_seconds=data.max_seconds,
            dtype=model.dtype,
            seed=source.settings.run.seed,
        )

    @property
    def model_settings(self) -> ModelSettings:
        """Which model to load, as the app loads it."""
        return ModelSettings(
            task=self.task,
            model=self.base,
            dtype=self.dtype,
            image_size=self.image_size,
        )

    def write(self, folder: Path) -> None:
        """Write ilora.json into a folder."""
        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Facts":
        """Read the ilora.json of a folder.

        Raises:
            ReleaseError: it is absent, torn, or of another version.

        """
        path = folder / NAME
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            form = found.pop("format")
            if form != _FORMAT:
                raise ValueError(f"format {form!r}; this version reads {_FORMAT}")
            found["labels"] = tuple(found["labels"])
            facts = cls(**found)
            for field in fields(cls):
                _check(field.name, getattr(facts, field.name), field.type)
        except (OSError, *STUMBLES) as error:
            raise ReleaseError(f"{path} cannot be read: {error}") from None
        return facts


def _check(name: str, value: Any, kind: Any) -> None:
    right = tuple if kind == tuple[str, ...] else kind
    if type(value) is not right or (right is tuple and not all(map(_is_text, value))):
        raise ValueError(f"{name} = {value!r}")
    if name in _KEYS:
        _, problems = parsing.parse({_KEYS[name]: value})
        if problems:
            raise ValueError(*problems.values())
    if name == "columns" and not options.names(str(value)):
        raise ValueError(f"{name} = {value!r}: expected one column, or two")


def _is_text(value: object) -> bool:
    return isinstance(value, str)
