"""Loads a model with its tokenizer, once a process."""

from functools import cache

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ilora_app.settings import ModelSettings
from ilora_app.tasks import models
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.whole_model import WholeModel


@cache
def load_backbone(
    settings: ModelSettings,
    labels: tuple[str, ...],
    seed: int,
    whole_model: bool = False,
) -> Backbone:
    """Load the model for these classes, once a process; the seed draws the new head.

    Args:
        settings: which model, and what is trained on it.
        labels: names of the classes.
        seed: of what the checkpoint does not hold.
        whole_model: train every weight, without factors.

    Raises:
        ModelError: it cannot be had, or the settings do not fit it.

    """
    where, local = models.locate(settings.model)
    cause = ""
    for only_local in (True,) if local else (True, False):
        torch.manual_seed(seed)  # before each try: the first may have drawn a head
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                where, local_files_only=only_local
            )
            model = AutoModelForSequenceClassification.from_pretrained(
                where,
                local_files_only=only_local,
                num_labels=len(labels),
                use_safetensors=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            continue
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: i for i, label in enumerate(labels)}
        kind = WholeModel if whole_model else Backbone
        return kind(model, tokenizer, settings)
    if local:
        raise models.ModelError(
            f"model = {settings.model!r}: {where} cannot be loaded ({cause})"
        )
    raise models.ModelError(models.ways_out(settings.model, cause))
