"""What makes no sense where the server sees sums alone."""

from ilora_app.methods import Method
from ilora_app.settings import Settings, parsing
from ilora_app.settings.method import CONTROL_VARIATES

_CORRECTIONS = ("none", "fedprox", "fedzmg", CONTROL_VARIATES)
"""Those that send nothing up, and one whose uploads are summed."""


def secure_problems(method: type[Method], settings: Settings) -> dict[str, str]:
    """What secure aggregation cannot do, by key.

    Args:
        method: of the run.
        settings: as resolved.

    """
    run, chosen, name = settings.run, settings.method, settings.run.strategy
    found: dict[str, str] = {}

    def refuse(key: str, value: object, right: str, why: str) -> None:
        found[key] = parsing.describe(key, value, f"{right}, as {why}")

    if not settings.privacy.secure_aggregation:
        default = type(settings.privacy)().secure_min_nodes
        if (least := settings.privacy.secure_min_nodes) != default:
            found["secure-min-nodes"] = (
                f"secure-min-nodes = {least}: is not used, as secure-aggregation is off"
            )
        return found
    if not method.is_sum():
        refuse(
            "secure-aggregation",
            True,
            "false",
            f"under {name} the server must see what each client returns: it makes its "
            "model of no sums over clients",
        )
        return found
    used = method.setting_keys
    if "cut" in used and chosen.cut != "update":
        why = "what the cut of a start gives up depends on the ranks of single clients"
        refuse("cut", chosen.cut, "update", f"{why} and their examples")
    if "decomposition" in used and chosen.decomposition == "pivoted-qr":
        why = "pivots are chosen by the lengths of columns, which no two sums tell"
        refuse("decomposition", chosen.decomposition, "qr or svd", why)
    if settings.model.initialisation == "qr" and "cut" not in used:
        why = "what a qr start becomes in means depends on the ranks of single clients"
        refuse("initialisation", "qr", "standard", why)
    if chosen.server_rate == "auto":
        why = "it is made of the norms of single updates"
        refuse("server-rate", "auto", "a number", why)
    if (drift := chosen.drift_correction) not in _CORRECTIONS:
        why = "the server's half of others sees what single clients send"
        refuse("drift-correction", drift, " or ".join(_CORRECTIONS), why)
    elif drift == CONTROL_VARIATES and chosen.control_basis != "keep":
        why = "a c_k that was turned at another time is in no sum"
        refuse("control-basis", chosen.control_basis, "keep", why)
    if settings.limits.robust != "none":
        why = "it compares single updates"
        refuse("robust", settings.limits.robust, "none", why)
    if settings.deadline.on:
        why = "layers are weighed by the progress of single clients"
        refuse("round-deadline", settings.deadline.round_deadline, "0", why)
    if run.wire_dtype != "float32":
        why = "masked numbers have 64 bits, all of which look random"
        refuse("wire-dtype", run.wire_dtype, "float32", why)
    if run.fraction_evaluate not in (0.0, 1.0):
        why = "those that train have the keys of a round, and are measured together"
        refuse("fraction-evaluate", run.fraction_evaluate, "0 or 1", why)
    best = settings.keeping.best_metric
    of_a_rank = method.personal and best.startswith("accuracy_r")
    if best == "client_accuracy_worst" or of_a_rank:
        why = "no single client's accuracy, nor that of a rank, is known"
        refuse("best-metric", best, "a mean", why)
    return found
