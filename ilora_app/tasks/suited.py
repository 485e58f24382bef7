"""Whether there is a model of an architecture for a task, and what to do where not."""

from typing import Any

from ilora_app.settings import ModelSettings
from ilora_app.settings.kinds import kind
from ilora_app.tasks.task import TASKS

_PLAIN = ("q_proj", "k_proj", "v_proj", "out_proj")


def problem(settings: ModelSettings, config: Any) -> str:
    """Say that a task has no model of this architecture; empty where it has.

    Args:
        settings: task, and name of the model.
        config: transformers' config of the model.

    """
    if _has(settings.task, config):
        return ""
    others = [task for task in TASKS if _has(task, config)]
    begin = (
        f"model = {settings.model!r}: it is a model of the kind {config.model_type}, "
        f"which {settings.task} has none of"
    )
    ways = []
    if others:
        ways.append(f"task = {' or '.join(map(repr, others))} with this one")
    if other := kind(settings.task).model:
        ways.append(f"another model, such as {other}")
    return f"{begin}; expected {', or '.join(ways)}" if ways else begin


def _has(task: str, config: Any) -> bool:
    auto = TASKS[task].auto_model
    known = getattr(auto, "_model_mapping", None)
    return type(config) in known if known is not None else _is_of(auto, config)


def _is_of(model: Any, config: Any) -> bool:
    return isinstance(config, model.config_class)
