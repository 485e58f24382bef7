"""The study's intervals hold at their level, over seeds and test rows together."""

import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.laboratory import pack, unpack
from ilora_app.compare.intervals import holm, over_seeds, over_seeds_and_rows


def made(generator, mean, seeds, rows, by_seed, by_row):
    """Differences around ``mean`` that vary by seed and by test row."""
    a = by_seed * generator.standard_normal((seeds, 1))
    b = by_row * generator.standard_normal((1, rows))
    e = generator.standard_normal((seeds, rows))
    return mean + a + b + 0.4 * e


@pytest.mark.parametrize(
    ("seeds", "by_seed", "by_row", "level"),
    [
        (5, 0.01, 0.0, 0.95),
        (5, 0.0, 0.5, 0.95),
        (5, 0.02, 0.3, 0.95),
        (3, 0.01, 0.3, 0.95),
        (2, 0.08, 0.5, 0.90),
    ],
)
def test_intervals_cover_a_known_difference_at_their_level(
    seeds, by_seed, by_row, level
):
    generator = np.random.default_rng(0)
    trials, covered, excluded = 600, 0, 0
    for _ in range(trials):
        found = over_seeds_and_rows(made(generator, 0.02, seeds, 400, by_seed, by_row))
        covered += abs(found.mean - 0.02) <= found.half
        null = over_seeds_and_rows(made(generator, 0.0, seeds, 400, by_seed, by_row))
        excluded += null.excludes_zero
    # But for chance (three standard errors are .027 to .037); a little more is honest.
    assert covered / trials > level - 0.03
    assert excluded / trials < 1.03 - level


def test_the_error_is_that_of_seeds_rows_and_what_is_left():
    """Oracle: each variance from means of products over pairs that share it, or not."""
    S, N = 4, 6
    D = made(np.random.default_rng(2), 0.3, S, N, 1.0, 1.0)
    cells = [(s, i) for s in range(S) for i in range(N)]
    products = {
        (same_seed, same_row): np.mean(
            [
                D[s, i] * D[t, j]
                for s, i in cells
                for t, j in cells
                if ((s == t), (i == j)) == (same_seed, same_row)
            ]
        )
        for same_seed in (True, False)
        for same_row in (True, False)
    }
    apart = products[False, False]
    of_seed, of_row = products[True, False] - apart, products[False, True] - apart
    left = products[True, True] - apart - of_seed - of_row
    error = np.sqrt(of_seed / S + of_row / N + left / (S * N))
    squares = {S - 1: N * of_seed + left, N - 1: S * of_row + left}
    squares[(S - 1) * (N - 1)] = left
    freedom = (S * N * error**2) ** 2 / sum(ms**2 / n for n, ms in squares.items())
    found = over_seeds_and_rows(D)
    assert found.mean == pytest.approx(D.mean())
    assert found.half == pytest.approx(stats.t.ppf(0.975, freedom) * error)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(D.mean()) / error, freedom))


@pytest.mark.slow
def test_a_bootstrap_over_five_seeds_would_be_too_narrow():
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        D = made(generator, 0.02, 5, 200, 0.2, 0.0)
        means = [
            D[
                np.ix_(generator.integers(0, 5, 5), generator.integers(0, 200, 200))
            ].mean()
            for _ in range(200)
        ]
        low, high = np.quantile(means, [0.025, 0.975])
        covered += low <= 0.02 <= high
    assert covered / 200 < 0.92


def test_few_rows_and_no_variation_between_seeds_leave_the_error_of_the_rows():
    D = np.tile(np.array([[1.0, 0.0, 0.0, -1.0, 1.0, 1.0]]), (4, 1))
    found = over_seeds_and_rows(D)
    error = np.std(D[0], ddof=1) / np.sqrt(6)
    assert found.half == pytest.approx(stats.t.ppf(0.975, 5) * error)


def test_without_test_rows_it_is_students_t_over_the_seeds():
    found = over_seeds([0.01, 0.03, 0.02])
    expected = stats.ttest_1samp([0.01, 0.03, 0.02], 0.0)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert found.mean - found.half == pytest.approx(low)
    assert found.mean + found.half == pytest.approx(high)
    assert not over_seeds([0.5]).excludes_zero


def test_equal_rows_have_no_difference():
    found = over_seeds_and_rows(np.zeros((3, 10)))
    assert (found.mean, found.half, found.p) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("gaps", [[-0.02, -0.02], [0.9 - 0.85, 0.85 - 0.8, 0.05]])
def test_seeds_that_differ_by_the_same_say_nothing_of_how_they_vary(gaps):
    rows = np.tile(np.array(gaps)[:, None], (1, 10))
    for found in (over_seeds(gaps), over_seeds_and_rows(rows)):
        assert found.mean == pytest.approx(gaps[0])
        assert (found.known, found.excludes_zero, found.p) == (False, False, 1.0)
        assert str(found) == f"{gaps[0]:+.3f}"


def test_holm_corrects_for_the_number_of_rows():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_hits_are_written_and_read_back():
    generator = np.random.default_rng(0)
    for count in (1, 8, 13, 1000):
        hits = [bool(h) for h in generator.integers(0, 2, count)]
        assert unpack(json.loads(json.dumps(pack(hits)))) == hits
