"""Columns of metrics.csv, from what came back in a round."""

import statistics
from collections.abc import Iterable, Sequence

import torch

from ilora_app import wire
from ilora_app.lora.factors import inner_products
from ilora_app.methods.state import Update


def drift(
    updates: Sequence[Update], weights: Sequence[float], scaling: float
) -> tuple[float, float]:
    r"""Mean distance of client updates from their mean, in the weights and the head.

    U_k = s (B_k A_k - P_k), with P_k the product that client k received; the first
    value is (1/K) sum_k ||U_k - sum_j p_j U_j||_F over all adapted layers together,
    from Gram matrices of the factors; the second the same for the head.
    """
    ranks = sorted({update.rank for update in updates})
    starts = {
        rank: next(u.received for u in updates if u.rank == rank).adapter.factors
        for rank in ranks
    }
    parts = [u.adapter.factors for u in updates] + [starts[rank] for rank in ranks]
    M = inner_products(parts)
    C = torch.zeros(len(updates), len(parts), dtype=torch.float64)
    for k, update in enumerate(updates):
        C[k, k] = 1.0
        C[k, len(updates) + ranks.index(update.rank)] = -1.0
    return (
        scaling * _mean_distance(C @ M @ C.T, weights),
        _mean_distance(_head_products(updates), weights),
    )


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


def of_evaluation(results: Sequence[dict[str, float]]) -> dict[str, int | float]:
    """Mean, worst and spread (standard deviation) over clients, each counted once.

    ``held_out_accuracy`` counts every held-out example once instead. Where clients
    measured models of their own on the test split, their means are the accuracy and
    loss of the round, also by rank.
    """
    found: dict[str, int | float] = {}
    held = [result for result in results if result[wire.EXAMPLES]]
    if held:
        accuracies = [result[wire.ACCURACY] for result in held]
        examples = [result[wire.EXAMPLES] for result in held]
        right = sum(a * n for a, n in zip(accuracies, examples, strict=True))
        found = {
            "clients_evaluated": len(held),
            "client_accuracy_mean": statistics.fmean(accuracies),
            "client_accuracy_worst": min(accuracies),
            "client_accuracy_spread": statistics.pstdev(accuracies),
            "client_loss_mean": statistics.fmean(result[wire.LOSS] for result in held),
            "held_out_accuracy": right / sum(examples),
        }
    own = [result for result in results if wire.TEST_ACCURACY in result]
    if own:
        for name, key in (
            (wire.ACCURACY, wire.TEST_ACCURACY),
            ("loss", wire.TEST_LOSS),
        ):
            found[name] = statistics.fmean(result[key] for result in own)
        for rank in sorted({int(result[wire.RANK]) for result in own}):
            found[f"accuracy_r{rank}"] = statistics.fmean(
                r[wire.TEST_ACCURACY] for r in own if r[wire.RANK] == rank
            )
    return found


def _head_products(updates: Sequence[Update]) -> torch.Tensor:
    """Inner products of the changes of the heads, tensor by tensor: shape (K, K)."""
    products = torch.zeros(len(updates), len(updates), dtype=torch.float64)
    for name, start in updates[0].received.adapter.head.items():
        changes = torch.stack([u.adapter.head[name] - start for u in updates])
        flat = changes.flatten(1).double()
        products += flat @ flat.T
    return products


def _mean_distance(V: torch.Tensor, weights: Sequence[float]) -> float:
    """Mean of ||u_k - sum_j p_j u_j|| from the inner products V of the u_k."""
    p = torch.tensor(weights, dtype=torch.float64)
    squared = V.diagonal() - 2 * (V @ p) + p @ V @ p
    return float(squared.clamp(min=0).sqrt().mean())
