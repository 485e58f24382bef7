"""What ``wire-dtype`` makes no sense with."""

from ilora_app.methods import Method
from ilora_app.settings import Settings


def rounding_problems(method: type[Method], settings: Settings) -> dict[str, str]:
    """Why numbers cannot travel rounded, by key.

    Args:
        method: of the run.
        settings: as resolved.

    """
    dtype = settings.run.wire_dtype
    if dtype == "float32":
        return {}
    why = method.rounding_refusal
    follows = "cut" in method.setting_keys and settings.method.cut == "update"
    if not why and settings.model.initialisation == "qr" and not follows:
        why = (
            "the factors go on holding the QR start, a part of the model's own "
            "weights, and rounding it loses as much as a round learns; initialisation "
            "= 'standard' has no such start"
        )
        if "cut" in method.setting_keys:
            why += ", and cut = 'update' leaves it after round 1"
    if not why:
        return {}
    return {"wire-dtype": f"wire-dtype = {dtype!r}: expected float32, as {why}"}
