"""What a node adds to the sums of a round, checked here, as no other can see it."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from flwr.app import MetricRecord, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections.shapes import fit, keep_rank
from ilora_app.lora.factors import AdapterState, LoraFactors, Pair, group_of, only
from ilora_app.lora.gram import gram_norm
from ilora_app.methods import tangent
from ilora_app.methods.state import MEANS, TANGENT, Sums
from ilora_app.methods.sums import Sketch, terms_of
from ilora_app.node.local_round import LocalRound
from ilora_app.node.node import Node
from ilora_app.node.noise_share import NoiseShare, behind

FACTORS = ("lora_B", "lora_A")


def sketch_of(facts: Mapping[str, Any]) -> Sketch:
    """Which sums of products the server asks for."""
    sums = Sums(str(facts[wire.SUMS]), bool(facts[wire.CHANGED]))
    return Sketch(sums, int(facts[wire.TOP_RANK]), int(facts[wire.SKETCH_SEED]))


def of_training(
    local: LocalRound,
    content: RecordDict,
    sketch: Sketch,
    most: int,
    directions: int,
    share: NoiseShare | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a trained round adds.

    Args:
        local: the round.
        content: what the reply would be if it were not masked.
        sketch: which sums of products the server asks for.
        most: examples that a node may count for.
        directions: that enough nodes hold; what is summed direction by direction has
            zeros beyond.
        share: of the noise of a private run, in which all count alike.

    Returns:
        Tensors, and the factors whose products later passes sum: ``<module>.left`` and
        ``<module>.right``, with their weight.

    Raises:
        WireError: an update or a control variate beyond the limits of the run.

    """
    metrics: Any = content.metric_records[wire.METRICS]
    n = float(_counted(local.node, metrics[wire.EXAMPLES], most)) if not share else 1.0
    trained = wire.decode_tensors(content.array_records[wire.ARRAYS])
    _check_update(local, trained)
    rank = min(local.instructions.rank, directions)
    held = torch.where(torch.arange(sketch.rank) < rank, n, 0.0)
    found = {
        "examples": torch.tensor([n]),
        "loss": torch.tensor([n * float(metrics[wire.LOSS])]),
        "seconds": torch.tensor([float(metrics[wire.SECONDS])]),
        "held": held,
    }
    later: dict[str, Tensor] = {}
    hidden: dict[str, Pair] = {}
    returned = trained
    if share:
        trained, hidden = share.clipped(local, trained, sketch)
    means = only(trained, ("head",) if sketch.sums.kind != MEANS else _GROUPS)
    for name, value in means.items():
        kept = keep_rank(name, value.double(), directions)
        found[f"up/{name}"] = n * _at_rank(name, kept, sketch.rank)
    if sketch.sums.kind != MEANS:
        own = AdapterState.from_named_tensors(only(returned, FACTORS)).factors
        terms = hidden or terms_of(sketch.sums, local.start.factors, own)
        for module, value in sketch.first(terms).items():
            found[f"product/{module}"] = n * value
        if share:
            terms = behind(terms, sketch)
        for module, (L, R) in terms.items():
            later[f"{module}.left"], later[f"{module}.right"] = n * L.double(), R
    record = content.array_records.get(wire.CORRECTION)
    if record is not None:
        method = local.node.settings.method
        # As far up in the range as may be: what is not weighed is small.
        weight = n if method.control_weights == "examples" else float(most)
        uploads = wire.decode_tensors(record)
        _check_correction(local.node, uploads)
        for name, value in uploads.items():
            kept = keep_rank(name, value.double(), directions)
            found[f"control/{name}"] = weight * _at_rank(name, kept, sketch.rank)
    if wire.EVALUATION in content:
        found |= of_evaluation(content.metric_records[wire.EVALUATION])
    return found, later


_GROUPS = (*FACTORS, "head")


def of_products(
    number: int, sketch: Sketch, later: Mapping[str, Tensor], by: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What a node adds in a later pass: its products with what the server has sent.

    Args:
        number: of the pass.
        sketch: of the round.
        later: from :func:`of_training`.
        by: matrices by module.

    Raises:
        WireError: they do not fit.

    """
    end = ".left"
    modules = [name.removesuffix(end) for name in later if name.endswith(end)]
    terms = {m: (later[m + end], later[f"{m}.right"]) for m in modules}
    if sketch.sums.kind == TANGENT:
        sums = tangent.along(terms, _directions(terms, by, sketch.rank))
        return {f"product/{name}": value for name, value in sums.items()}
    for module, (L, R) in terms.items():
        side = L.shape[0] if sketch.is_left(number) else R.shape[1]
        right = (side, sketch.width((L.shape[0], R.shape[1])))
        if module not in by or not 0 < by[module].shape[1] <= right[1]:
            raise wire.WireError(f"{module}: nothing to multiply by, of width {right}")
        if by[module].shape[0] != side:
            raise wire.WireError(f"{module}: {side} rows expected to multiply by")
    found = sketch.multiply(number, terms, by)
    return {f"product/{module}": value for module, value in found.items()}


def _directions(
    terms: Mapping[str, Pair], by: Mapping[str, Tensor], rank: int
) -> tangent.Directions:
    """E and Q by module, of what the server has sent."""
    found = {}
    for module, (L, R) in terms.items():
        sides = {tangent.COLUMNS: R.shape[1], tangent.ROWS: L.shape[0]}
        for name, side in sides.items():
            if module + name not in by or by[module + name].shape != (side, rank):
                right = f"{side} x {rank}"
                raise wire.WireError(f"{module}: no directions of shape {right}")
        E, Q = (by[module + name].double() for name in sides)
        found[module] = (E, Q)
    return found


def of_evaluation(metrics: MetricRecord) -> dict[str, Tensor]:
    """What an evaluation adds: counts, and sums over examples and over nodes."""
    values: Any = metrics
    m, accuracy = float(values[wire.EXAMPLES]), float(values[wire.ACCURACY])
    there, loss = float(m > 0), float(values[wire.LOSS])
    found = [there, m, m * accuracy, there * accuracy, there * accuracy**2]
    found += [there * loss]
    own = wire.TEST_ACCURACY in metrics
    found += [
        float(own),
        float(values[wire.TEST_ACCURACY]) if own else 0.0,
        float(values[wire.TEST_LOSS]) if own else 0.0,
    ]
    return {"evaluation": torch.tensor(found, dtype=torch.float64)}


def of_head(node: Node, content: RecordDict, most: int) -> dict[str, Tensor]:
    """What the sums for a solved head add, of no more examples than count."""
    found = wire.decode_tensors(content.array_records[wire.HEAD_SUMS])
    n = float(found[wire.GRAM][-1])
    part = _counted(node, n, most) / n if n else 1.0
    return {name: part * value for name, value in found.items()}


def _counted(node: Node, examples: float, most: int) -> float:
    limit = node.settings.limits.max_examples
    return min(examples, most, limit or most)


def _at_rank(name: str, value: Tensor, rank: int) -> Tensor:
    """A factor padded with zeros to the rank of the sums; a head as it is."""
    side = {"lora_B": 1, "lora_A": 0}.get(group_of(name))
    if side is None:
        return value
    shape = list(value.shape)
    shape[side] = rank
    return fit(value, torch.Size(shape))


def _check_update(local: LocalRound, trained: Mapping[str, Tensor]) -> None:
    """As ``federation.limits`` does where the server sees an update."""
    node, start = local.node, local.start.named_tensors()
    limit = node.settings.limits.max_update_norm
    if not limit:
        return
    moved = {name: value - start[name] for name, value in trained.items()}
    apart = moved if node.method.personal else only(moved, ("head",))
    squared = sum(float(value.double().square().sum()) for value in apart.values())
    if not node.method.personal:
        factors = AdapterState.from_named_tensors({**start, **trained}).factors
        s = node.settings.model.lora_scaling
        squared += s**2 * _change(local.start.factors, factors)
    _at_most(math.sqrt(squared), "update", "max-update-norm", limit)


def _change(before: LoraFactors, after: LoraFactors) -> float:
    """Squared Frobenius norm of B A - B' A' over all layers."""
    terms = terms_of(Sums(MEANS, changed=True), before, after)
    return sum(gram_norm(L.double(), R.double()) for L, R in terms.values())


def _check_correction(node: Node, uploads: Mapping[str, Tensor]) -> None:
    limit = node.settings.limits.max_correction_norm
    if limit:
        squared = sum(float(v.double().square().sum()) for v in uploads.values())
        name = "change of its control variate"
        _at_most(math.sqrt(squared), name, "max-correction-norm", limit)


def _at_most(norm: float, what: str, key: str, limit: float) -> None:
    if not norm <= limit:
        raise wire.WireError(f"its {what} is larger than {key}, {limit:g}")
