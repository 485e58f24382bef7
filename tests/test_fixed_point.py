"""Numbers in fixed point: their sums never overflow."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ilora_app.secure import FixedPoint, SecureError, keys


@example(8, 2.0**32, [1.0] * 8)  # where one bit more would overflow
@example(4, 2.0**32, [-1.0] * 4)
@given(
    st.integers(1, 200),
    st.floats(1e-3, 2**31),
    st.lists(st.floats(-1, 1), min_size=1, max_size=20),
)
@settings(max_examples=200, deadline=None)
def test_sums_in_fixed_point_never_overflow_and_are_off_by_their_bound(
    nodes, bound, parts
):
    point = FixedPoint(nodes, bound)
    values = [np.array([part * bound, bound, -bound]) for part in parts][:nodes]
    values += values[:1] * (nodes - len(values))  # as many as may be
    assert nodes * (2 ** (point.bits + 1) * Fraction(bound) + 1) < 2**64
    total = keys.summed((point.encode(v) for v in values), 3)
    exact = [math.fsum(column) for column in zip(*values, strict=True)]
    error = nodes * 2.0 ** -(point.bits + 1) + 2.0**-52 * nodes * bound
    assert (np.abs(point.decode(total) - exact) <= error).all()
    assert point.bits >= 24


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 4097.0, -4097.0])
def test_numbers_that_sums_are_not_made_for_are_refused_before_masking(wrong):
    with pytest.raises(SecureError, match=r"finite|beyond 4096"):
        FixedPoint(8, 4096.0).encode(np.array([0.0, wrong]))
    with pytest.raises(SecureError, match="bits behind the point"):
        FixedPoint(200, 2.0**33)
