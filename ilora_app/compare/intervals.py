"""How sure a difference between two rows is, over seeds and test rows.

D[s, i] is 1, 0 or -1: what the first row's model of seed s gets right of test row i,
less what the second's does. Seeds and test rows are both samples, so

    D[s, i] = mu + a_s + b_i + e_si,
    Var(mean) = (MS_a + MS_b - MS_e) / (S N),

with the mean squares of a two-way analysis of variance; the mean divided by its error
follows Student's t with Satterthwaite's degrees of freedom. A bootstrap over seeds and
rows, with five seeds, has intervals that are too narrow where seeds differ.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_NOTHING = 1e-12
"""What rounding may make of no difference."""


@dataclass(frozen=True)
class Difference:
    """A mean difference with its interval.

    Attributes:
        mean: of the difference.
        half: half the width of the 95 % interval; infinite where nothing is known of
            it: of one seed, and of seeds that differ by the same.
        p: of no difference, two-sided.
        seeds: pairs of runs.

    """

    mean: float
    half: float
    p: float
    seeds: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.half)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does."""
        return abs(self.mean) > self.half

    def __str__(self) -> str:
        # Signed zeros would say something that is not there.
        text = f"{self.mean:+.3f}".replace("-0.000", "+0.000")
        return f"{text} ± {self.half:.3f}" if self.known else text


def over_seeds(gaps: Sequence[float]) -> Difference:
    """Student's t over seeds alone, where there is nothing of single test rows."""
    mean = statistics.fmean(gaps)
    if len(gaps) < 2:
        return Difference(mean, math.inf, 1.0, len(gaps))
    error = statistics.stdev(gaps) / math.sqrt(len(gaps))
    return _of(mean, error, len(gaps) - 1, len(gaps))


def over_seeds_and_rows(D: "np.ndarray") -> Difference:
    """Of differences of shape (S, N): seeds, test rows."""
    S, N = D.shape
    if S < 2:
        return Difference(float(D.mean()), math.inf, 1.0, S)
    mean = float(D.mean())
    by_seed, by_row = D.mean(axis=1), D.mean(axis=0)
    ms_seed = N * float(((by_seed - mean) ** 2).sum()) / (S - 1)
    ms_row = S * float(((by_row - mean) ** 2).sum()) / (N - 1)
    rest = D - by_seed[:, None] - by_row[None, :] + mean
    ms_rest = float((rest**2).sum()) / ((S - 1) * (N - 1))
    # Never below what either sample alone says.
    variance = max(ms_seed + ms_row - ms_rest, ms_seed, ms_row) / (S * N)
    squares = (
        ms_seed**2 / (S - 1) + ms_row**2 / (N - 1) + ms_rest**2 / ((S - 1) * (N - 1))
    )
    freedom = (variance * S * N) ** 2 / squares if squares else S - 1
    return _of(mean, math.sqrt(variance), freedom, S)


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979), in their order."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    found, least = [0.0] * len(values), 0.0
    for place, index in enumerate(order):
        least = max(least, min(1.0, values[index] * (len(values) - place)))
        found[index] = least
    return found


def corrected(gaps: Sequence[Difference]) -> list[float]:
    """p of every gap, corrected for their number (Holm).

    One without an interval tests nothing: it is none of the number, and its p stays 1.
    """
    tested = [i for i, gap in enumerate(gaps) if gap.known]
    found = [1.0] * len(gaps)
    for i, p in zip(tested, holm([gaps[i].p for i in tested]), strict=True):
        found[i] = p
    return found


def _of(mean: float, error: float, freedom: float, seeds: int) -> Difference:
    if error < _NOTHING:
        # Few seeds whose gaps happen to be the same say nothing of how they vary.
        half = math.inf if abs(mean) > _NOTHING else 0.0
        return Difference(mean, half, 1.0, seeds)
    from scipy import stats  # slow to import

    half = float(stats.t.ppf(0.975, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Difference(mean, half, p, seeds)
