"""A clip that follows a quantile of the norms (Andrew et al., 2021, arXiv 1905.03871).

After each round C becomes C exp(-eta (b - gamma)), with b the part of the nodes whose
norm was below C, told with noise:

    b = 1/2 + (sum_k b_k + N(0, sigma_b^2)) / n,

b_k being 1/2 below and -1/2 above C, and 0 of a node that has changed nothing: so what
one node can change is 1/2. With noise of z_u C on the update both together are one
Gaussian mechanism of 1 / z^2 = 1 / z_u^2 + 1 / (2 sigma_b)^2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ilora_app.privacy.noise import Draw, gaussian

RATE = 0.2
"""eta, as in the paper."""


@dataclass(frozen=True)
class Quantile:
    """Which clip is next, and what of the noise is left for the update.

    Attributes:
        target: gamma.
        draw: makes standard normal numbers of a shape.

    """

    target: float
    draw: Draw = gaussian

    def spread(self, nodes: int, multiplier: float) -> float:
        """sigma_b: n / 20, as in the paper, and 2 z at least: then z_u < 1.04 z."""
        return max(nodes / 20, 2 * multiplier)

    def left(self, nodes: int, multiplier: float) -> float:
        """z_u of n nodes, for z of all."""
        if not multiplier:
            return 0.0
        bits = 2 * self.spread(nodes, multiplier)
        return float((multiplier**-2 - bits**-2) ** -0.5)

    def after(self, clip: float, norms: Sequence[float], multiplier: float) -> float:
        """The next C.

        Args:
            clip: C.
            norms: of every asked node; 0 of one that has not answered.
            multiplier: z.

        """
        nodes = len(norms)
        told = sum(0.0 if not n else 0.5 if n <= clip else -0.5 for n in norms)
        told += self.spread(nodes, multiplier) * float(self.draw((1,)))
        return clip * math.exp(-RATE * (0.5 + told / nodes - self.target))
