"""Which drift corrections make sense with which methods and settings."""

from ilora_app.methods import Method
from ilora_app.settings import Settings
from ilora_app.settings.method import (
    FEDADAMW,
    FEDGLOMO,
    FEDLADA,
    FEDPROX,
    FEDSMOO,
    SECOND_MOMENTS,
)

CORRECTION_KEYS = {
    FEDPROX: ("proximal-mu",),
    FEDADAMW: ("fedadamw-gamma", "moment-sync"),
    FEDLADA: ("fedlada-alpha", "moment-sync"),
    SECOND_MOMENTS: ("moment-sync",),
    FEDSMOO: ("fedsmoo-rho", "fedsmoo-lambda"),
    FEDGLOMO: ("fedglomo-beta",),
}
"""Settings that one correction reads, or several."""

_OF_ADAM = (FEDADAMW, FEDLADA, SECOND_MOMENTS)


def correction_problems(method: type[Method], settings: Settings) -> dict[str, str]:
    """What keeps a method and its settings from a correction, by key."""
    name, strategy = settings.method.drift_correction, settings.run.strategy
    found = {}
    if name in (FEDSMOO, FEDGLOMO) and not method.keeps_basis():
        found["drift-correction"] = (
            f"drift-correction = {name!r}: {strategy} does not keep the basis of its "
            "factors from round to round, so what the server and the clients would "
            "keep in their coordinates means nothing a round later"
        )
    elif name == FEDGLOMO and not method.is_sum():
        found["drift-correction"] = (
            f"drift-correction = {name!r}: {strategy} makes its factors of more than "
            "the mean of the clients', so that their way from the model before does "
            "not say where it would have led"
        )
    elif name == FEDSMOO and not method.client_half.returns_all:
        found["drift-correction"] = (
            f"drift-correction = {name!r}: clients of {strategy} return a part of what "
            "they train, so that their h would not be the server's"
        )
    elif name in (FEDSMOO, FEDGLOMO) and settings.model.dtype == "float16":
        found["dtype"] = (
            f"dtype = 'float16': expected bfloat16 or float32, as {name} adds up "
            "gradients of several passes, which float16 scales"
        )
    elif name in _OF_ADAM and settings.training.optimizer != "adamw":
        found["drift-correction"] = (
            f"drift-correction = {name!r}: expected optimizer = 'adamw', of whose "
            "step it is a part"
        )
    rate, momentum = settings.method.server_rate, settings.method.server_momentum
    plain = rate != "auto" and float(rate) == 1.0 and not momentum
    if name in (FEDSMOO, FEDGLOMO) and method.keeps_basis() and not plain:
        key, value = (
            ("server-momentum", momentum) if momentum else ("server-rate", rate)
        )
        found[key] = (
            f"{key} = {value!r}: is not used, as {name} takes the server's step itself"
        )
    if name in (FEDSMOO, FEDGLOMO) and settings.model.private_rank:
        found["private-rank"] = (
            f"private-rank = {settings.model.private_rank}: expected 0, as {name} "
            "takes several passes, between which a private adapter would move"
        )
    chosen = settings.method.moment_sync
    whole = chosen in ("means", "ajive")
    follows = method.projects and name == SECOND_MOMENTS
    if name in _OF_ADAM and whole and not (follows or method.keeps_basis()):
        found["moment-sync"] = (
            f"moment-sync = {chosen!r}: expected block-means or none, as {strategy} "
            "does not keep the basis of its factors, and a square of entries cannot "
            "be turned"
        )
    return found


def batch_problems(settings: Settings) -> dict[str, str]:
    """Why clients cannot train as one batch, by key."""
    at_once, training = settings.training.clients_per_batch, settings.training
    reasons = [
        (training.gradient_accumulation > 1, "gradient-accumulation cuts batches"),
        (settings.model.private_rank > 0, "private adapters train client by client"),
        (settings.model.use_dora, "magnitudes train client by client (use-dora)"),
        (
            training.local_steps == 0,
            "clients have unequal numbers of batches in epochs",
        ),
        (
            settings.model.dtype == "float16",
            "float16 scales the loss of each by itself",
        ),
    ]
    found = [reason for holds, reason in reasons if holds]
    if at_once == 1 or not found:
        return {}
    why = "; ".join(found)
    return {"clients-per-batch": f"clients-per-batch = {at_once}: expected 1, as {why}"}
