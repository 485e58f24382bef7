"""What makes no sense under differential privacy."""

from dataclasses import fields
from importlib.util import find_spec

from ilora_app.federation.evaluation import MEASURED_BY_CLIENTS
from ilora_app.federation.record_validity import record_problems
from ilora_app.methods import Method
from ilora_app.privacy.budget import no_noise
from ilora_app.settings import PrivacySettings, Settings, parsing
from ilora_app.settings.head import RIDGE

_CORRECTIONS = ("none", "fedprox")
"""Those that send nothing up and take nothing of single nodes."""


def private_problems(method: type[Method], settings: Settings) -> dict[str, str]:
    """What ``dp`` cannot do, by key.

    Args:
        method: of the run.
        settings: as resolved.

    """
    chosen, name = settings.privacy, settings.run.strategy
    found: dict[str, str] = {}

    def refuse(key: str, value: object, right: str, why: str) -> None:
        found[key] = parsing.describe(key, value, f"{right}, as {why}")

    if chosen.dp == "none":
        for field in fields(PrivacySettings):
            value = getattr(chosen, field.name)
            if field.name.startswith("dp_") and value != field.default:
                key = field.name.replace("_", "-")
                found[key] = f"{key} = {value:g}: is not used, as dp is 'none'"
        return found
    if find_spec("dp_accounting") is None:
        found["dp"] = (
            f"dp = {chosen.dp!r}: needs dp-accounting, which is not installed: "
            "pip install dp-accounting"
        )
    if bool(chosen.dp_target_epsilon) == bool(chosen.dp_noise_multiplier):
        why = "one follows from the other"
        right = "this or dp-noise-multiplier above 0, and not both"
        refuse("dp-target-epsilon", chosen.dp_target_epsilon, right, why)
    if chosen.dp == "record":
        record_problems(method, settings, refuse)
        return found
    if not method.is_sum():
        why = f"{name} makes its model of no sum in which a node's part is bounded"
        refuse("dp", chosen.dp, "none", why)
        return found
    if not found and (none := no_noise(settings)):
        found["dp-target-epsilon"] = none
    used, how = method.setting_keys, settings.method.decomposition
    if "decomposition" in used and how == "pivoted-qr":
        why = "pivots would be chosen among columns of noise"
        refuse("decomposition", how, "qr or svd", why)
    if "cut" in used and settings.method.cut != "update":
        why = "what the cut of a start gives up depends on single nodes"
        refuse("cut", settings.method.cut, "update", why)
    if settings.head.head == RIDGE:
        why = "its sums over features are as long as the features"
        refuse("head", RIDGE, "trained", why)
    if (drift := settings.method.drift_correction) not in _CORRECTIONS:
        right = " or ".join(_CORRECTIONS)
        why = "what it sends is in no account"
        refuse("drift-correction", drift, right, why)
    if settings.method.server_rate == "auto":
        why = "it is made of the norms of single updates"
        refuse("server-rate", "auto", "a number", why)
    if settings.limits.robust != "none":
        why = "it has every node decide how much of the others is used"
        refuse("robust", settings.limits.robust, "none", why)
    if settings.deadline.on:
        why = "layers are weighed by the progress of single nodes"
        refuse("round-deadline", settings.deadline.round_deadline, "0", why)
    by = settings.keeping.best_metric
    if by.startswith(MEASURED_BY_CLIENTS):
        right = "a column that the server measures, such as accuracy"
        refuse("best-metric", by, right, "what single nodes measure is in no account")
    if method.personal:
        why = "nodes measure models of their own, which is in no account"
        for key in ("patience", "target_accuracy"):
            if value := getattr(settings.run, key):
                refuse(key.replace("_", "-"), value, "0", why)
    if chosen.secure_aggregation and chosen.dp_clip_quantile:
        why = "no single norm is seen under secure-aggregation"
        refuse("dp-clip-quantile", chosen.dp_clip_quantile, "0", why)
    return found
