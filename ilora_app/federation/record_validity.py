"""What makes no sense where single rows are hidden."""

from collections.abc import Callable
from importlib.util import find_spec

from ilora_app.methods import ClientHalf, Method
from ilora_app.settings import Settings
from ilora_app.settings.head import RIDGE

Refuse = Callable[[str, object, str, str], None]


def record_problems(method: type[Method], settings: Settings, refuse: Refuse) -> None:
    """Refuse whatever leaves a node of its rows by another way than their gradients.

    Args:
        method: of the run.
        settings: as resolved.
        refuse: gets a key, its value, what would be right, and why.

    """
    name, chosen = settings.run.strategy, settings.privacy
    training, model = settings.training, settings.model
    half = method.client_half
    if why := _sees_rows(method, half):
        refuse("dp", chosen.dp, "none or client", f"{name} {why}")
    elif find_spec("opacus") is None:
        why = "nodes need Opacus, which is not installed: pip install opacus"
        refuse("dp", chosen.dp, "none or client", why)
    wrong: list[tuple[str, object, object, str, str]] = [
        (
            "head",
            settings.head.head == RIDGE,
            RIDGE,
            "trained",
            "sums over features are in no account",
        ),
        (
            "drift-correction",
            settings.method.drift_correction != "none",
            settings.method.drift_correction,
            "none",
            "what it takes of gradients is in no account",
        ),
        (
            "dp-clip-quantile",
            chosen.dp_clip_quantile > 0,
            chosen.dp_clip_quantile,
            "0",
            "the norms of single gradients are in no account",
        ),
        (
            "logit-adjustment",
            training.logit_adjustment > 0,
            training.logit_adjustment,
            "0",
            "it counts the classes of a node",
        ),
        (
            "clip-grad-norm",
            training.clip_grad_norm > 0,
            training.clip_grad_norm,
            "0",
            "dp-clip clips the gradient of every row",
        ),
        (
            "packing",
            settings.data.packing,
            True,
            "false",
            "a packed row is several of the data",
        ),
        (
            "private-rank",
            model.private_rank > 0,
            model.private_rank,
            "0",
            "what a node keeps trains beside what it sends",
        ),
        (
            "dtype",
            model.dtype == "float16",
            model.dtype,
            "float32 or bfloat16",
            "a scaled loss would be clipped as it is",
        ),
        (
            "gradient-checkpointing",
            model.gradient_checkpointing,
            True,
            "false",
            "layers that compute twice are counted twice",
        ),
        (
            "round-deadline",
            settings.deadline.on,
            settings.deadline.round_deadline,
            "0",
            "how many steps are taken would depend on the clock",
        ),
        (
            "secure-aggregation",
            chosen.secure_aggregation,
            True,
            "false",
            "its sums have no place for what a node has spent",
        ),
    ]
    for key, is_wrong, value, right, why in wrong:
        if is_wrong:
            refuse(key, value, right, why)


def _sees_rows(method: type[Method], half: type[ClientHalf]) -> str:
    """What else than gradients of rows a method takes of them, or needs."""
    if method.whole_model:
        return "trains every weight, not those of linear layers alone"
    if method.personal:
        return "has nodes say how good models of their own are"
    if not method.trains:
        return "solves a head from sums over features"
    if method.projects or half.watcher is not ClientHalf.watcher:
        return "takes more of gradients than their steps"
    if half.penalty is not ClientHalf.penalty:
        return "has a loss that is of no row"
    if not method.drifts:
        return "has no nodes that train by themselves"
    return ""
