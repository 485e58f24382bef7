"""How many numbers a strategy sends, by the shapes of what it adapts."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """What formulas are made of.

    Attributes:
        d_out, d_in: sums over the adapted layers.
        layers: how many.
        ranks: of the clients.
        whole: weights of all adapted layers; what fedavg-full sends.

    """

    d_out: int
    d_in: int
    layers: int
    ranks: tuple[int, ...]
    whole: int

    @property
    def most(self) -> int:
        """r_max."""
        return max(self.ranks)

    @property
    def rho(self) -> int:
        """Sum of the ranks."""
        return sum(self.ranks)

    def both(self, rank: int) -> int:
        """B and A of every layer."""
        return rank * (self.d_out + self.d_in)

    def turn(self, number: int) -> int:
        """Sides of the factor that trains in a round of alternation."""
        return self.d_out if number % 2 else self.d_in

    def changed(self, rank: int, number: int) -> int:
        """Both factors at first, then the one that trained in the round before."""
        return self.both(rank) if number == 1 else rank * self.turn(number - 1)


Formula = Callable[[Sizes, int, int], int]


def _factors(s: Sizes, r: int, t: int) -> int:
    return s.both(r)


def _nothing(s: Sizes, r: int, t: int) -> int:
    return 0


FORMULAS: dict[str, tuple[Formula, Formula]] = {
    "ilora": (
        _factors,
        lambda s, r, t: s.both(r) + (t > 1) * s.layers * r * s.most,
    ),
    # The increment of a round holds the rho trained and the r_max received directions.
    "ilora-merge": (
        _factors,
        lambda s, r, t: s.both(r) + (t > 1) * s.both(s.rho + s.most),
    ),
    # Behind round 1, before which there is none, everybody gets all of the update.
    **dict.fromkeys(
        ("ilora-default", "ilora-send"),
        (_factors, lambda s, r, t: s.both(s.most if t > 1 else r)),
    ),
    **dict.fromkeys(
        (
            "ilora-svd", "ilora-products", "ilora-products-svd", "ilora-update",
            "ilora-update-svd", "fedit", "lora-fair", "hetlora", "flexlora", "raflora",
            "fedrot-lora",
        ),
        (_factors, _factors),
    ),
    "fedit-qr": (_factors, lambda s, r, t: s.both(r) + s.layers * r * s.most),
    "flora": (_factors, lambda s, r, t: (t > 1) * s.both(s.rho)),
    "ffa-lora": (
        lambda s, r, t: r * s.d_out,
        lambda s, r, t: r * s.d_out + (t == 1) * r * s.d_in,
    ),
    # What was learned, and a sketch of each gradient: of the other side together. Where
    # all layers have their projector on one side, the zeros of the other go down once.
    "fedgalore": (_factors, lambda s, r, t: s.both(r) + (t > 1) * s.both(s.most)),
    # Of an index that all clients hold, weights that sum to 1 leave one direction less.
    "fedex-lora": (
        _factors,
        lambda s, r, t: s.both(r) + (t > 1) * s.both(s.rho - min(s.ranks)),
    ),
    "rolora": (lambda s, r, t: r * s.turn(t), Sizes.changed),
    "fedsa-lora": (lambda s, r, t: r * s.d_in, lambda s, r, t: r * s.d_in),
    # Slots under a budget of r a layer, and a mask; of layers of one shape.
    "lora-a2": (
        lambda s, r, t: r * s.turn(t) + s.layers * s.most,
        lambda s, r, t: s.changed(s.most, t),
    ),
    "centralized": (
        lambda s, r, t: s.both(s.most),
        lambda s, r, t: s.both(s.most),
    ),
    "local": (_nothing, lambda s, r, t: s.both(r) if t == 1 else 0),
    "fedavg-full": (lambda s, r, t: s.whole, lambda s, r, t: s.whole),
}  # fmt: skip
"""Name -> numbers up and down for a rank and a round from 1, beside the head: factors,
offsets and base."""

HEADLESS = ("local",)
"""Strategies that send the head in round 1 alone."""
