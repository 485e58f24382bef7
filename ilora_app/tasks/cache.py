"""Tokenised rows kept on disk, where the operator of a node names a folder for them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from logging import WARNING
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from ilora_app.settings import options

if TYPE_CHECKING:
    from datasets import Dataset

FOLDER = "ILORA_CACHE"
"""Environment variable: the folder. It is no run-config key, since the node's operator
decides where the node writes."""

Rows = list[dict[str, list[int]]]


def rows(
    data: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    how: object,
    encode: Callable[[], Rows],
) -> Rows:
    """Tokenise, or read what an earlier process tokenised.

    Args:
        data: what is tokenised; told from other data by its fingerprint.
        tokenizer: told from other tokenizers by all it consists of.
        how: everything else that the result depends on.
        encode: tokenises.

    """
    named = os.environ.get(FOLDER)
    if not named:
        return encode()
    import datasets

    identity = (data._fingerprint, _digest(tokenizer), how)
    name = hashlib.sha256(repr(identity).encode()).hexdigest()
    folder = options.folder(named) / name
    if folder.is_dir():
        loaded: Rows = datasets.load_from_disk(str(folder)).to_list()
        return loaded
    made = encode()
    try:
        _keep(datasets.Dataset.from_list(made), folder)
    except OSError as error:
        from flwr.supercore import log

        text = "tokenised rows are not kept in %s: %s"
        log(WARNING, text, folder.parent, error.strerror or error)
    return made


def _keep(made: Dataset, folder: Path) -> None:
    """Write aside and rename: another process sees all of it or nothing.

    Raises:
        OSError: there is no room, or no leave to write.

    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".writing-"))
    try:
        made.save_to_disk(str(aside))
        with suppress(OSError):  # another process was first
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _digest(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    whole = backend.to_str() if backend else repr(sorted(tokenizer.get_vocab().items()))
    # None of these is in the backend: the token that ends a text, which end is cut off.
    beside = (
        sorted(tokenizer.special_tokens_map.items()),
        tokenizer.truncation_side,
        tokenizer.model_input_names,
        tokenizer.chat_template,
    )
    text = f"{type(tokenizer).__name__} {whole} {beside!r}"
    return hashlib.sha256(text.encode()).hexdigest()
