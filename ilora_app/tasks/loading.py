"""Loads a model with its tokenizer or whatever reads the rows, once a process."""

import copy
import re
from functools import cache
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig

from ilora_app.settings import ModelSettings
from ilora_app.settings.kinds import AUDIO, kind
from ilora_app.tasks import models, modules, quantised, suited
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.frozen_layers import stop_dropout
from ilora_app.tasks.task import TASKS, Task
from ilora_app.tasks.whole_model import WholeModel

_FIRST = "decoder_start_token_id"
_OF_DECODER = re.compile(r"(^|\.)decoder\.(block|layers?)\.\d")


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
        labels: names of the classes; none for a language model.
        seed: of what the checkpoint does not hold.
        whole_model: train every weight, without factors.

    Raises:
        ModelError: it cannot be had, or the settings do not fit it.

    """
    refused = quantised.problem(settings, whole_model)
    if refused:
        raise models.ModelError.openly(refused)
    model, processor = load_pretrained(settings, labels, seed)
    build = WholeModel if whole_model else Backbone
    has_head = kind(settings.task).has_head
    return build(model, processor, modules.resolved(settings, model, has_head))


def load_pretrained(
    settings: ModelSettings, labels: tuple[str, ...], seed: int
) -> tuple[Any, Any]:
    """Load model and processor as transformers has them; the config names the classes.

    Args:
        settings: which model.
        labels: names of the classes; none for a language model.
        seed: of what the checkpoint does not hold.

    Raises:
        ModelError: it cannot be had.

    """
    task = TASKS[settings.task]
    where, local = models.locate(settings.model)
    cause, told = "", ""
    for only_local in (True,) if local else (True, False):
        torch.manual_seed(seed)  # before each try: the first may have drawn a head
        try:
            config = AutoConfig.from_pretrained(
                where, local_files_only=only_local, trust_remote_code=False
            )
            if told := suited.problem(settings, config):
                break
            processor = _processor(task, where, settings, only_local)
            model, absent = _model(task, where, settings, labels, only_local, config)
        except (
            OSError,
            ImportError,
            ValueError,
            RuntimeError,
            SafetensorError,
        ) as error:
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            continue
        tokenizer = getattr(processor, "tokenizer", processor)
        reads = kind(settings.task).tokens
        if reads and tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if reads and (told := suited.misread(settings, model, tokenizer)):
            raise models.ModelError.openly(told)
        if told := _without_decoder(settings, model, absent):
            raise models.ModelError.openly(told)
        if told := _without_end(settings, model, processor):
            raise models.ModelError.openly(told)
        if labels:
            model.config.id2label = dict(enumerate(labels))
            model.config.label2id = {label: i for i, label in enumerate(labels)}
        if reads:
            model.config.pad_token_id = tokenizer.pad_token_id
            _give_first_token(model)
        return model, processor
    if told:
        raise models.ModelError.openly(told)
    told = f"model = {settings.model!r}: it cannot be loaded"
    if local:
        whole = f"model = {settings.model!r}: {where} cannot be loaded ({cause})"
        raise models.ModelError(whole, told)
    raise models.ModelError(models.ways_out(settings.model, cause), told)


def _give_first_token(model: Any) -> None:
    """Name the token that a decoder begins with, where the config leaves it out.

    It is that of generation, else the padding token, as T5 has it.
    """
    config = model.config
    if not config.is_encoder_decoder or getattr(config, _FIRST, None) is not None:
        return
    first = getattr(getattr(model, "generation_config", None), _FIRST, None)
    setattr(config, _FIRST, config.pad_token_id if first is None else first)


def _without_decoder(settings: ModelSettings, model: Any, absent: set[str]) -> str:
    """Say that a checkpoint holds the encoder alone of a model that has a decoder too.

    It would be drawn at random, and stay as it is, as no factors reach all of it.
    """
    if not any(map(_OF_DECODER.search, absent)):
        return ""
    tags = " or task = 'token-classification', which reads the encoder alone,"
    return (
        f"model = {settings.model!r}: the checkpoint holds no decoder, as that of an "
        f"encoder alone, and {type(model).__name__} reads texts with one; expected a "
        "checkpoint of the whole model, as the published one of that name without "
        f"-encoder,{tags} or an encoder such as sentence-transformers/all-MiniLM-L6-v2"
    )


def _without_end(settings: ModelSettings, model: Any, processor: Any) -> str:
    """Say that a classifier with a decoder, as T5's, is not told where a text ends."""
    if kind(settings.task).reads != "texts" or not model.config.is_encoder_decoder:
        return ""
    end = processor.eos_token_id
    if end != processor.pad_token_id and end in processor("a")["input_ids"]:
        return ""
    return (
        f"model = {settings.model!r}: a classifier of this architecture reads the "
        "end-of-text token, and the tokenizer beside it writes none, or pads with it; "
        "expected a tokenizer that writes it once, as that of the published model, or "
        "task = 'seq2seq-lm'"
    )


def _processor(
    task: Task, where: str, settings: ModelSettings, only_local: bool
) -> Any:
    found = task.auto_processor.from_pretrained(
        where, local_files_only=only_local, trust_remote_code=False
    )
    if kind(settings.task).file == "image" and settings.image_size:
        pixels = settings.image_size
        side = {"height": pixels, "width": pixels}
        images = getattr(found, "image_processor", found)
        # Some know no other size than that of the shorter side, and crop by themselves.
        by_edge = "shortest_edge" in images.size
        images.size = {"shortest_edge": pixels} if by_edge else side
        if getattr(images, "crop_size", None):
            images.crop_size = side
    return found


def _model(
    task: Task,
    where: str,
    settings: ModelSettings,
    labels: tuple[str, ...],
    only_local: bool,
    config: Any,
) -> tuple[Any, set[str]]:
    """The model, and names of weights that the checkpoint lacks."""
    models.refuse_other_weights(where, only_local)
    if settings.task == AUDIO:
        # Spans masked by NumPy's own random numbers, which no seed of a round sets, and
        # layers left out, whose factors would have no gradient.
        config.apply_spec_augment, config.layerdrop = False, 0.0
    if not settings.base_dropout:
        stop_dropout(config)
    options: dict[str, Any] = {}
    if kind(settings.task).has_head:
        # A head for other classes, as a fine-tuned model has, is drawn anew.
        config.num_labels = len(labels) or 1
        config.problem_type = task.problem_type
        options["ignore_mismatched_sizes"] = True
    if settings.attn_implementation != "auto":
        options["attn_implementation"] = settings.attn_implementation
    if settings.quantisation != "none":
        with torch.device("meta"):
            empty = task.auto_model.from_config(copy.deepcopy(config))
        whole = modules.kept_whole(settings, empty, kind(settings.task).has_head)
        options["quantization_config"] = quantised.config(settings, empty, whole)
    model, found = task.auto_model.from_pretrained(
        where,
        config=config,
        local_files_only=only_local,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=getattr(torch, settings.dtype),
        output_loading_info=True,
        **options,
    )
    return model, set(found["missing_keys"])
