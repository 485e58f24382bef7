"""What variants of LoRA make no sense with."""

from ilora_app.methods import Method
from ilora_app.settings import Settings


def adapter_problems(method: type[Method], settings: Settings) -> dict[str, str]:
    """Why factors cannot train as a variant has it, by key.

    Args:
        method: of the run.
        settings: as resolved.

    """
    name, found = settings.run.strategy, {}
    if settings.model.use_rslora and (why := _no_rslora(method, name)):
        found["use-rslora"] = f"use-rslora = true: expected false, as {why}"
    return found


def _no_rslora(method: type[Method], name: str) -> str:
    """Why a method has no factors B and A whose scaling is a matter of training."""
    if method.whole_model:
        return f"{name} trains every weight, and has no factors that could be scaled"
    if not method.trains:
        return f"{name} trains nothing"
    if method.projects:
        return (
            f"{name} takes steps in the coordinates of orthonormal projectors, which "
            "have no scaling of a rank"
        )
    return ""
