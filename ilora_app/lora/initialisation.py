"""Where LoRA training starts: QR orthonormal directions of W0, or PEFT's usual way."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ilora_app.lora.bases import complete_basis, leading_basis
from ilora_app.lora.factors import LoraFactors

GAINS = ("paper", "scaled")
SCALED_TARGET = 1e-4
"""Length of the initial product per sqrt(d_out d_in) under ``init_gain="scaled"``."""


def qr_directions(weights: Iterable[tuple[str, Tensor]], rank: int) -> LoraFactors:
    """Leading QR directions of the frozen weights, W0 ~ Q R cut at ``rank``.

    Thin QR without pivoting and with diag(R) >= 0, which makes it unique: nodes agree
    on it whatever their hardware, and ranks nest, since the first r columns of Q and
    rows of R do not depend on how many are taken (arXiv 2511.16069, QR orthonormal
    initialisation).

    Args:
        weights: module names with W0 of shape (d_out, d_in), one at a time.
        rank: directions to take, at most min(d_out, d_in) of every module.

    Returns:
        Q of shape (d_out, rank) in the place of B, R of shape (rank, d_in) in the
        place of A, in float32.

    """
    pairs = {}
    for module, weight in weights:
        W0 = weight.detach().cpu().double()  # where all nodes compute alike
        leading = W0[:, :rank]
        roundings = torch.finfo(torch.float32).eps * torch.linalg.vector_norm(
            leading, dim=0
        )
        Q, kept = leading_basis(leading, roundings)
        R = Q.T @ W0
        pairs[module] = (complete_basis(Q, kept).float(), R.float())
    return LoraFactors(pairs)


def gain_squared(directions: LoraFactors, rank: int, gain: str) -> dict[str, float]:
    """g^2 of every module for a client of rank ``rank``.

    ``paper``: g = 1. ``scaled``: g^2 = t / ||Q_r R_r||_F, t = 1e-4 sqrt(d_out d_in), so
    that the initial product is small beside what training learns.

    Raises:
        ValueError: ``gain`` is neither.

    """
    if gain not in GAINS:
        raise ValueError(
            f"init-gain {gain!r} is unknown: use one of {', '.join(GAINS)}"
        )
    if gain == "paper":
        return {module: 1.0 for module, _ in directions.items()}
    squared = {}
    for module, (Q, R) in directions.items():
        # Q has orthonormal columns, so ||Q_r R_r||_F = ||R_r||_F.
        length = float(torch.linalg.vector_norm(R[:rank].double()))
        target = SCALED_TARGET * math.sqrt(Q.shape[0] * R.shape[1])
        squared[module] = target / length if length > 0 else 1.0
    return squared


def standard_factors(
    shapes: Mapping[str, tuple[int, int]], rank: int, generator: torch.Generator
) -> LoraFactors:
    """PEFT's usual start: A uniform in +-1/sqrt(d_in), B = 0, so that B A = 0.

    Args:
        shapes: module -> (d_out, d_in). Modules are drawn in the order given.
        rank: of all of them.
        generator: of the random numbers.

    """
    pairs = {}
    for module, (d_out, d_in) in shapes.items():
        uniform = torch.rand(rank, d_in, generator=generator)
        pairs[module] = (torch.zeros(d_out, rank), (2 * uniform - 1) / math.sqrt(d_in))
    return LoraFactors(pairs)
