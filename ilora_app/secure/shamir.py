r"""Shamir's secret sharing of 32 bytes: t shares give the secret, fewer give nothing.

The secret is the value at 0 of a random polynomial of degree t - 1 over the integers
modulo the smallest prime above 2^256; the share of node i = 1..n is its value at i.
(Comm. ACM 22, 1979.) The library at hand shares 16 bytes at a time in a field of 2^128,
in Python bit by bit: for 100 nodes that takes a hundred times as long.
"""

import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache

from ilora_app.secure.errors import SecureError

PRIME = 2**256 + 297
SECRET, SHARE = 32, 33
"""Bytes of a secret, and of a share."""


def split(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """Share a secret.

    Args:
        secret: 32 bytes.
        threshold: t.
        count: n; share i of the result is that of node i + 1.

    """
    if len(secret) != SECRET or not 1 <= threshold <= count:
        raise SecureError(f"no {threshold} of {count} shares of {len(secret)} bytes")
    terms = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    terms.append(int.from_bytes(secret, "big"))
    shares = []
    for x in range(1, count + 1):
        value = 0
        for term in terms:
            value = (value * x + term) % PRIME
        shares.append(value.to_bytes(SHARE, "big"))
    return shares


@lru_cache(maxsize=8)
def weights(nodes: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's weights of shares for the value at 0.

    Args:
        nodes: i of each share, all different.

    """
    found = []
    for i in nodes:
        above, below = 1, 1
        for j in nodes:
            if j != i:
                above = above * j % PRIME
                below = below * (j - i) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(found)


def join(shares: Mapping[int, bytes], by: Sequence[int]) -> bytes:
    """Find the secret of which these are t shares or more.

    Args:
        shares: by i.
        by: :func:`weights` of the same nodes, in the same order.

    Raises:
        SecureError: they are shares of no secret of 32 bytes.

    """
    total = 0
    for weight, share in zip(by, shares.values(), strict=True):
        value = int.from_bytes(share, "big")
        if len(share) != SHARE or value >= PRIME:
            raise SecureError("a share is none")
        total = (total + weight * value) % PRIME
    if total >= 2**256:
        raise SecureError("shares that do not belong together")
    return total.to_bytes(SECRET, "big")
