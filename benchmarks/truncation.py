"""How much cheaper the cut of a factored product is than one of the dense product.

    python benchmarks/truncation.py [--size 4096] [--rho 248] [--rank 64] [--threads 2]

Prints the ratio of times, the best of five each, and the relative difference of the
products, in float32.
"""

import argparse
import time
from collections.abc import Callable

import torch

from ilora_app.lora.decomposition import DECOMPOSITIONS, truncate_product

Pair = tuple[torch.Tensor, torch.Tensor]


def dense(B: torch.Tensor, A: torch.Tensor, rank: int, method: str) -> Pair:
    """The same cut by forming D; QR for both kinds of QR (torch has no pivoting)."""
    D = B @ A
    if method == "svd":
        U, S, Vt = torch.linalg.svd(D, full_matrices=False)
        return U[:, :rank], S[:rank, None] * Vt[:rank]
    Q, R = torch.linalg.qr(D)
    return Q[:, :rank], R[:rank]


def best_of(call: Callable[[], Pair], times: int) -> tuple[float, Pair]:
    """Seconds of the fastest call, and its result."""
    seconds = []
    for _ in range(times):
        clock = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - clock)
    return min(seconds), result


def main() -> None:
    """Measure every method side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--rho", type=int, default=248)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    B = torch.randn(options.size, options.rho, generator=generator)
    A = torch.randn(options.rho, options.size, generator=generator)
    print("| method | factored ms | dense ms | ratio | difference |")
    print("|---|---|---|---|---|")
    for method in DECOMPOSITIONS:
        fast, cut = best_of(lambda m=method: truncate_product(B, A, options.rank, m), 5)
        slow, whole = best_of(lambda m=method: dense(B, A, options.rank, m), 1)
        exact = whole[0] @ whole[1]
        gap = float(
            torch.linalg.norm(cut[0] @ cut[1] - exact) / torch.linalg.norm(exact)
        )
        difference = f"{gap:.1e}" if method != "pivoted-qr" else "other cut"
        print(
            f"| {method} | {1e3 * fast:.1f} | {1e3 * slow:.0f} | {slow / fast:.0f} | "
            f"{difference} |"
        )


if __name__ == "__main__":
    main()
