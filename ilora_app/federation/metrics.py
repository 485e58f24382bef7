"""Columns of metrics.csv, from what came back in a round."""

import math
import statistics
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ilora_app import wire
from ilora_app.methods.increments import squared_distances
from ilora_app.methods.state import Update


def drift(
    updates: Sequence[Update], weights: Sequence[float], scaling: float
) -> tuple[float, float]:
    r"""Mean distance of client updates from their mean, in the weights and the head.

    U_k = s (B_k A_k - P_k), with P_k the product that client k received; the first
    value is (1/K) sum_k ||U_k - sum_j p_j U_j||_F over all adapted layers together,
    of many clients an estimate; the second the same for the head.
    """
    squared = squared_distances(updates, weights)
    distances = (scaling**2 * squared, _head_distances(updates, weights))
    factors, head = (float(d.clamp(min=0).sqrt().mean()) for d in distances)
    return factors, head


def of_training(
    updates: Sequence[Update],
    weights: Sequence[float],
    energy: tuple[float, ...] | None,
    ranks: Iterable[int],
    scaling: float | None,
) -> dict[str, int | float]:
    """Collect the measures of a round of training by column name.

    Without a scaling drift is left out: not all that clients train comes back.
    """
    found: dict[str, int | float] = {
        "clients": len(updates),
        "train_loss": sum(w * u.loss for w, u in zip(weights, updates, strict=True)),
        "seconds_client_mean": statistics.fmean(u.seconds for u in updates),
        "seconds_client_longest": max(u.seconds for u in updates),
    }
    if scaling is not None:
        found["drift"], found["drift_head"] = drift(updates, weights, scaling)
    if energy:
        for rank in sorted(set(ranks)):
            found[f"energy_kept_r{rank}"] = energy[rank - 1]
    return found


def of_evaluation(
    results: Sequence[dict[str, float]], ratio: float = 0.0
) -> dict[str, int | float]:
    """Mean, worst and spread (standard deviation) over clients, each counted once.

    ``held_out_accuracy`` counts every held-out example once instead. Where clients
    measured models of their own on the test split, their means are the accuracy and
    loss of the round, also by rank.

    Args:
        results: of the clients.
        ratio: nobody counts for more held-out examples than so many times the median
            of those who have any; 0: no limit. A count is a node's own word.

    """
    found: dict[str, int | float] = {}
    held = [result for result in results if result[wire.EXAMPLES]]
    if held:
        found = {
            "clients_evaluated": len(held),
            "client_loss_mean": statistics.fmean(result[wire.LOSS] for result in held),
        }
    if held and wire.ACCURACY in held[0]:
        found |= _accuracies(held, ratio)
    own = [result for result in results if wire.TEST_LOSS in result]
    for name, key in ((wire.ACCURACY, wire.TEST_ACCURACY), ("loss", wire.TEST_LOSS)):
        if own and key in own[0]:
            found[name] = statistics.fmean(result[key] for result in own)
    for rank in sorted({int(r[wire.RANK]) for r in own if wire.TEST_ACCURACY in r}):
        found[f"accuracy_r{rank}"] = statistics.fmean(
            r[wire.TEST_ACCURACY] for r in own if r[wire.RANK] == rank
        )
    return found


def _accuracies(
    held: Sequence[dict[str, float]], ratio: float
) -> dict[str, int | float]:
    """Accuracies of clients on their held-out data, for tasks that have one."""
    accuracies = [result[wire.ACCURACY] for result in held]
    claimed = [result[wire.EXAMPLES] for result in held]
    most = ratio * statistics.median(claimed) or math.inf
    examples = [min(count, most) for count in claimed]
    right = sum(a * n for a, n in zip(accuracies, examples, strict=True))
    return {
        "client_accuracy_mean": statistics.fmean(accuracies),
        "client_accuracy_worst": min(accuracies),
        "client_accuracy_spread": statistics.pstdev(accuracies),
        "held_out_accuracy": right / sum(examples),
    }


def _head_distances(updates: Sequence[Update], weights: Sequence[float]) -> Tensor:
    """Squared distances of the heads from their mean: shape (K,)."""
    heads = [update.adapter.head for update in updates]
    found = torch.zeros(len(updates), dtype=torch.float64)
    for name in updates[0].received.adapter.head:
        mean = torch.zeros_like(heads[0][name], dtype=torch.float64)
        for head, weight in zip(heads, weights, strict=True):
            mean.add_(head[name], alpha=weight)
        for k, head in enumerate(heads):
            found[k] += (head[name] - mean).square().sum().cpu()
    return found
