"""Which settings a method takes, and what is refused."""

from dataclasses import fields
from typing import Any

from ilora_app.federation.adapter_validity import adapter_problems
from ilora_app.federation.correction_validity import (
    CORRECTION_KEYS,
    batch_problems,
    correction_problems,
)
from ilora_app.federation.deadline_validity import deadline_problems
from ilora_app.federation.private_validity import private_problems
from ilora_app.federation.robust_validity import robust_problems
from ilora_app.federation.rounding_validity import rounding_problems
from ilora_app.federation.secure_validity import secure_problems
from ilora_app.federation.task_validity import task_problems
from ilora_app.methods import Method, find, resolve
from ilora_app.settings import (
    HeadSettings,
    MethodSettings,
    ModelSettings,
    Settings,
    parsing,
)
from ilora_app.settings.head import RIDGE
from ilora_app.settings.kinds import kind
from ilora_app.settings.method import CONTROL_VARIATES

# Settings of control variates: read under any method that runs with them.
_CONTROL = (
    "control-estimator",
    "control-normalisation",
    "control-scope",
    "control-weights",
)
HEAD = "head"


def problems(settings: Settings) -> dict[str, str]:
    """Settings that the named method does not use or that make no sense with it.

    A method's own keys are refused under another where they differ from the default.
    Keys of the federation, the model, the data and the training are common to all.

    Returns:
        What is wrong, by key.

    """
    name = settings.run.strategy
    method, given, settings = find(name), settings.method, resolve(settings)
    model, chosen = settings.model, settings.method
    corrected = chosen.drift_correction == CONTROL_VARIATES
    found: dict[str, str] = {}

    if model.initialisation not in method.initialisations:
        right = " or ".join(("auto", *method.initialisations))
        found["initialisation"] = (
            f"initialisation = {model.initialisation!r}: expected {right}, as {name} "
            "has no other start"
        )
    correcting = chosen.drift_correction != "none"
    nothing = not method.drifts or (corrected and not method.control_scopes)
    if correcting and nothing:
        found["drift-correction"] = (
            f"drift-correction = {chosen.drift_correction!r}: {method.control_refusal}"
        )
    elif corrected and chosen.control_scope not in method.control_scopes:
        found["control-scope"] = (
            f"control-scope = {chosen.control_scope!r}: {method.control_refusal}"
        )

    headless = kind(model.task).writes and model.modules_to_save in ("auto", "")
    if corrected and chosen.control_scope == HEAD and headless:
        found["control-scope"] = (
            f"control-scope = {HEAD!r}: expected all or factors, or drift-correction "
            f"= 'none', as a model of {model.task} has no head that is trained"
        )
    if (chosen.control_basis, model.init_gain) == ("rotate", "scaled") and corrected:
        found["control-basis"] = (
            "control-basis = 'rotate': expected keep, as init-gain = 'scaled' starts "
            "every rank in coordinates of its own, which the server's c cannot follow"
        )

    if correcting and "drift-correction" not in found:
        found |= correction_problems(method, settings)
    if model.private_rank and (method.whole_model or not method.trains):
        found["private-rank"] = (
            f"private-rank = {model.private_rank}: expected 0, as {name} trains no "
            "adapters"
        )
    found |= _head_problems(method, settings, corrected)
    if settings.training.logit_adjustment and not kind(model.task).one_class:
        found["logit-adjustment"] = (
            f"logit-adjustment = {settings.training.logit_adjustment:g}: is not used, "
            f"as {model.task} has no classes of which each row has one"
        )
    if settings.training.rate_floor and settings.training.rate_schedule == "constant":
        found["rate-floor"] = (
            f"rate-floor = {settings.training.rate_floor:g}: is not used, as "
            "rate-schedule is constant"
        )
    found |= method.problems(settings) | batch_problems(settings)
    found |= deadline_problems(method, settings) | robust_problems(method, settings)
    found |= rounding_problems(method, settings) | secure_problems(method, settings)
    found |= private_problems(method, settings) | task_problems(settings)
    found |= adapter_problems(method, settings)

    used = set(method.setting_keys) | _declared(method) | {"drift-correction"}
    reasons = {}
    if corrected:
        used |= set(_CONTROL)
        if chosen.control_scope == HEAD:
            used -= {"control-basis", "control-normalisation"}
            why = "every member holds the head, in the same coordinates"
            reasons = dict.fromkeys(("control-basis", "control-normalisation"), why)
    else:
        used -= {"control-basis"}
        reasons = dict.fromkeys(
            (*_CONTROL, "control-basis"), "drift-correction is not control-variates"
        )
    step = ("server-rate", "server-momentum")
    if "aggregate" in method.setting_keys and chosen.aggregate != "increments":
        reasons |= dict.fromkeys(step, "aggregate is not increments")
    elif method.server_step:
        used |= set(step)
    else:
        reasons |= dict.fromkeys(step, f"{name} has no step to take further")
    for correction, keys in CORRECTION_KEYS.items():
        if chosen.drift_correction == correction:
            used |= set(keys)
    for correction, keys in CORRECTION_KEYS.items():
        for key in set(keys) - used:
            why = f"drift-correction is not {correction}"
            reasons[key] = f"{reasons[key]} or {correction}" if key in reasons else why
    if chosen.residual != "merge":
        used -= {"residual-energy"}
        if "residual-energy" in method.setting_keys:
            reasons["residual-energy"] = "residual is not merge"
    values: list[tuple[str, Any, Any]] = [
        (e.name, e.default, getattr(given, e.name)) for e in fields(given)
    ]
    if model.initialisation != "qr":
        used -= {"init-gain"}
        reasons["init-gain"] = "initialisation is not qr"
    values.append(("init_gain", ModelSettings.init_gain, model.init_gain))
    values.append(
        ("private_weight", ModelSettings.private_weight, model.private_weight)
    )
    if model.private_rank:
        used |= {"private-weight"}
    else:
        reasons["private-weight"] = "private-rank is 0"
    limit = settings.limits.max_correction_norm
    values.append(("max_correction_norm", 0.0, limit))
    if corrected:
        used |= {"max-correction-norm"}
    else:
        reasons["max-correction-norm"] = "drift-correction is not control-variates"
    for field_name, default, value in values:
        key = parsing.key_of(field_name)
        if key not in used and not _same(value, default):
            why = reasons.get(key, f"{name} has no such setting")
            found.setdefault(
                key, f"{key} = {parsing.shown(value)}: is not used, as {why}"
            )
    return found


def _head_problems(
    method: type[Method], settings: Settings, corrected: bool
) -> dict[str, str]:
    """What of the head's settings makes no sense, by key."""
    head, name = settings.head, settings.run.strategy
    found = {}
    solved = head.head == RIDGE
    if solved and not kind(settings.model.task).one_class:
        found["head"] = (
            f"head = {RIDGE!r}: expected trained, as {settings.model.task} has no "
            "classes of which each row has one"
        )
    elif solved and method.whole_model:
        found["head"] = (
            f"head = {RIDGE!r}: expected trained, as {name} trains every weight and "
            "has no head apart"
        )
    if head.head_rate != "auto" and method.whole_model:
        found["head-rate"] = (
            f"head-rate = {head.head_rate!r}: is not used, as {name} has no head apart"
        )
    for key, value in (
        ("head-refit-every", head.head_refit_every),
        ("head-ridge", head.head_ridge),
    ):
        default = getattr(HeadSettings, key.replace("-", "_"))
        if not solved and value != default:
            found[key] = f"{key} = {value!r}: is not used, as head is not {RIDGE}"
    if not method.trains:
        for field in ("head_rate", "head_refit_every"):
            key, given = parsing.key_of(field), getattr(head, field)
            if given != getattr(HeadSettings, field):
                why = f"{name} solves its head once and trains nothing"
                found[key] = f"{key} = {given!r}: is not used, as {why}"
    again = head.head_refit_every
    if solved and method.personal and again not in (0, HeadSettings.head_refit_every):
        found["head-refit-every"] = (
            f"head-refit-every = {again}: is not used, as {name} has no model whose "
            "features all clients share"
        )
    correctable = corrected and method.control_scopes
    if correctable and head.is_frozen and method.control_scopes == (HEAD,):
        found["drift-correction"] = (
            "drift-correction = 'control-variates': expected none, or head = 'trained' "
            f"and control-scope = 'head', as under {name} only a head that trains can "
            "be corrected"
        )
    elif correctable and head.is_frozen and settings.method.control_scope == HEAD:
        found["control-scope"] = (
            f"control-scope = {HEAD!r}: expected all or factors, as a frozen head is "
            "not corrected (head-rate)"
        )
    return found


def _same(value: object, default: object) -> bool:
    """Whether two values of a key mean the same: "1.0" is "1"."""
    try:
        return value == default or float(str(value)) == float(str(default))
    except ValueError:
        return False


def _declared(method: type[Method]) -> set[str]:
    """Keys that a method outside this package declares for itself."""
    shared = {entry.name for entry in fields(MethodSettings)}
    own = [e.name for e in fields(method.settings) if e.name not in shared]
    return {parsing.key_of(name) for name in own}
