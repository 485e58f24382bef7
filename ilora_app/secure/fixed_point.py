r"""Real numbers as integers of 64 bits, whose sum over all nodes cannot overflow.

x is sent as round(2^f x) modulo 2^64. With |x| <= b of each of K nodes the sum has
|sum| <= K (2^f b + 1/2) < 2^63, so that reading it back as a signed number is exact; a
number beyond b is refused before it is masked, never cut. The error of a sum is at
most K 2^-(f+1).
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ilora_app.secure.errors import SecureError

Ring = NDArray[np.uint64]
Reals = NDArray[np.float64]

ONE = np.ones(1, dtype=np.uint64)
"""Behind every vector: where masks have not all cancelled these do not add up to K."""

LEAST_BITS = 24
"""f at least: a sum over 8 nodes is off by less than 3e-7."""

_MOST = 2**63 - 1


@dataclass(frozen=True)
class FixedPoint:
    """How numbers of a session are written.

    Attributes:
        nodes: K, the most that may be added up.
        bound: b, of the magnitude of each number.

    Raises:
        SecureError: they leave fewer than 24 bits behind the point.

    """

    nodes: int
    bound: float

    def __post_init__(self) -> None:
        if self.nodes < 1 or not 0 < self.bound < math.inf:
            raise SecureError(
                f"{self.nodes} nodes, numbers up to {self.bound:g}: expected more"
            )
        if self.bits < LEAST_BITS:
            raise SecureError(
                f"numbers up to {self.bound:g} of {self.nodes} nodes leave {self.bits} "
                f"bits behind the point, {LEAST_BITS} at least"
            )

    @property
    def bits(self) -> int:
        """f: the largest with K (2^f b + 1/2) < 2^63."""
        room = Fraction(_MOST, self.nodes) - Fraction(1, 2)
        most = room / Fraction(self.bound)  # exact, as the last bit counts
        bits = most.numerator.bit_length() - most.denominator.bit_length()
        return bits if Fraction(2) ** bits <= most else bits - 1

    def encode(self, values: Reals) -> Ring:
        """Write numbers; shape (n,).

        Raises:
            SecureError: one is not finite, or beyond the bound.

        """
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            raise SecureError("a number is not finite")
        largest = float(np.abs(values).max(initial=0.0))
        if largest > self.bound:
            raise SecureError(
                f"a number is beyond {self.bound:g}, the most that sums are made for"
            )
        return np.rint(np.ldexp(values, self.bits)).astype(np.int64).view(np.uint64)

    def decode(self, total: Ring) -> Reals:
        """Read a sum; shape (n,)."""
        return np.ldexp(total.view(np.int64).astype(np.float64), -self.bits)


MOST_VALUE, MOST_EXAMPLES = 4096.0, 2**20
"""Of a number that a client learns or measures, and of what it counts for."""


def of_clients(nodes: int, max_examples: int = 0) -> tuple[FixedPoint, int]:
    """Numbers up to 4096 times the examples of a client, for so many clients.

    Args:
        nodes: of a session.
        max_examples: that a client may count for; 0: as many as there is room for, up
            to 2^20.

    Returns:
        How they are written, and the examples that a client may count for.

    Raises:
        SecureError: there is no room at all.

    """
    most = min(max_examples or MOST_EXAMPLES, MOST_EXAMPLES)
    while most > 1:
        try:
            return FixedPoint(nodes, most * MOST_VALUE), most
        except SecureError:
            most //= 2
    return FixedPoint(nodes, MOST_VALUE), 1
