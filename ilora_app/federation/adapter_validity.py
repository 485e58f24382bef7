"""What variants of LoRA make no sense with."""

from ilora_app.methods import Method
from ilora_app.settings import Settings


def adapter_problems(method: type[Method], settings: Settings) -> dict[str, str]:
    """Why factors cannot train as a variant has it, by key.

    Args:
        method: of the run.
        settings: as resolved.

    """
    name, model, found = settings.run.strategy, settings.model, {}
    if model.use_rslora and (why := _no_rslora(method, name)):
        found["use-rslora"] = f"use-rslora = true: expected false, as {why}"
    if model.use_dora and (reasons := _no_dora(method, settings)):
        why = "; ".join(reasons)
        found["use-dora"] = f"use-dora = true: expected false, as {why}"
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


def _no_dora(method: type[Method], settings: Settings) -> list[str]:
    """Why there can be no magnitudes, which are lengths of the rows of W0 + s B A."""
    if method.dora_refusal:
        return [method.dora_refusal]
    model, chosen, head = settings.model, settings.method, settings.head
    cuts = "cut" in method.setting_keys and chosen.cut != "update"
    keeps = "residual" in method.setting_keys and chosen.residual != "drop"
    frozen = "head = 'ridge' does not train"
    if head.rate == 0:
        frozen = f"head-rate = {head.head_rate!r} freezes"
    rows = "whose rows magnitudes are the lengths of"
    reasons = [
        (
            model.initialisation == "qr" and not cuts,
            f"initialisation = 'qr' takes its start out of the base, {rows} (standard "
            "takes nothing)",
        ),
        (
            cuts,
            f"cut = {chosen.cut!r} takes a start out of the base, {rows} (cut = "
            "'update' does not)",
        ),
        (
            keeps and not cuts,
            f"residual = {chosen.residual!r} gives the base what a client's rank "
            "cannot hold, and magnitudes are lengths of rows of W0 + s B A alone "
            "(residual = 'drop' gives nothing)",
        ),
        (
            head.is_frozen,
            f"magnitudes travel with the head, which {frozen} (head = 'trained' does)"
            if head.rate
            else f"magnitudes travel with the head, which {frozen}",
        ),
        (
            model.quantisation != "none",
            f"quantisation = {model.quantisation!r} would have every step dequantise "
            "whole layers for the lengths of their rows",
        ),
        (
            model.private_rank > 0,
            f"private-rank = {model.private_rank}: what a client keeps would be added "
            "to rows whose lengths are set without it",
        ),
        (
            settings.run.wire_dtype != "float32",
            f"wire-dtype = {settings.run.wire_dtype!r} would round magnitudes, which "
            "are lengths of the model's own rows, by more than a round changes them",
        ),
        (
            settings.privacy.dp == "record",
            "dp = 'record': Opacus has no gradients of single rows for magnitudes",
        ),
        (
            settings.deadline.on,
            "a deadline counts the steps of a head as one, and magnitudes, which are "
            "counted with it, are in every layer",
        ),
    ]
    return [reason for holds, reason in reasons if holds]
