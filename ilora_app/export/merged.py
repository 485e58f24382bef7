"""The whole model with the global update inside its weights."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn

from ilora_app.export import whole
from ilora_app.export.places import ReleaseError
from ilora_app.export.source import Source
from ilora_app.runs.adapter import write_config
from ilora_app.tasks.loading import load_pretrained


def write_merged(source: Source, folder: Path) -> None:
    """Write the model with ``save_pretrained``, and its tokenizer or image processor.

    A base that was trained over in 8 or 4 bits is merged into as it was published.

    Args:
        source: of a run that trained an adapter.
        folder: exists.

    Raises:
        ModelError: the base cannot be had.
        ReleaseError: the adapter does not fit it.

    """
    settings = replace(source.settings.model, quantisation="none")
    seed = source.settings.run.seed
    model, processor = load_pretrained(settings, source.labels, seed)
    shared = _shared(model)
    if shared:
        # Input and output embeddings are one tensor, and PEFT would write what is for
        # one of them into both.
        shared[1].weight = nn.Parameter(shared[1].weight.detach().clone())
    with warnings.catch_warnings():
        # PEFT warns of tied embeddings, which are seen to here.
        warnings.filterwarnings("ignore", message=".*tie")
        try:
            adapted = PeftModel.from_pretrained(model, source.model)
            merged: Any = adapted.merge_and_unload()
        except Exception as error:  # tensors that are missing, or fit no layer
            cause = whole.reason(error)
            raise ReleaseError(f"{source.model} cannot be loaded: {cause}") from None
    if shared:
        _tie_where_equal(merged)
    merged.save_pretrained(folder)
    write_config(folder, merged.config)
    processor.save_pretrained(folder)


def _shared(model: Any) -> tuple[Any, Any] | None:
    """Input and output embeddings where they are one tensor."""
    try:
        into, out = model.get_input_embeddings(), model.get_output_embeddings()
    except NotImplementedError:  # a model of recordings, which has neither
        return None
    weights = [getattr(module, "weight", None) for module in (into, out)]
    if weights[0] is None or weights[0] is not weights[1]:
        return None
    return into, out


def _tie_where_equal(model: Any) -> None:
    """Share the embeddings again where nothing was trained in them; say which it is."""
    into, out = model.get_input_embeddings(), model.get_output_embeddings()
    tied = torch.equal(into.weight, out.weight)
    if tied:
        out.weight = into.weight
    for config in (model.config, model.config.get_text_config(decoder=True)):
        config.tie_word_embeddings = tied
