"""Which methods and settings make sense with a rule against hostile clients."""

from ilora_app.methods import Method
from ilora_app.settings import LimitSettings, Settings
from ilora_app.settings.limits import COORDINATES
from ilora_app.settings.method import FEDSMOO

_COUNTING = ("krum", "trimmed-mean")
_MOVING = ("clip", *COORDINATES)
"""These make another change of what a client has trained."""


def robust_problems(method: type[Method], settings: Settings) -> dict[str, str]:
    """What of ``robust`` cannot be, by key."""
    limits, name = settings.limits, settings.run.strategy
    found = {}
    why = method.robust_refusals.get(limits.robust, "")
    if not method.drifts:  # one client, or none that shares what it learns
        why = f"{name} aggregates nothing of several clients"
    elif limits.robust in _MOVING and settings.method.drift_correction == FEDSMOO:
        why = f"clients of {FEDSMOO} remember how far they have moved"
    if limits.robust != "none" and why:
        right = "expected none, or another rule" if method.drifts else "expected none"
        found["robust"] = f"robust = {limits.robust!r}: {right}, as {why}"
    fraction, default = limits.robust_fraction, LimitSettings.robust_fraction
    if limits.robust not in _COUNTING and fraction != default:
        used = " or ".join(_COUNTING)
        found["robust-fraction"] = (
            f"robust-fraction = {fraction:g}: is not used, as robust is not {used}"
        )
    return found
