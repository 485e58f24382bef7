"""Who takes part, in which order, and who is drawn."""

import pytest

from ilora_app.strategies.federation import Member, sample


def member(partition: int | None, node_id: int) -> Member:
    return Member(node_id=node_id, rank=4, examples=10, partition=partition)


def test_order_is_by_partition_and_only_then_by_node_id():
    members = [member(None, 3), member(1, 9), member(None, 2), member(0, 50)]
    ordered = sorted(members, key=lambda m: m.order)
    assert [m.node_id for m in ordered] == [50, 9, 2, 3]


def test_sampling_does_not_see_node_ids():
    one = [member(i, 100 + i) for i in range(10)]
    other = [member(i, 900 - i) for i in range(10)]
    for turn in range(5):
        first = [m.partition for m in sample(one, 0.3, 1, f"0 train {turn}")]
        second = [m.partition for m in sample(other, 0.3, 1, f"0 train {turn}")]
        assert first == second == sorted(first)


@pytest.mark.parametrize(
    ("fraction", "least", "size"),
    [(1.0, 1, 10), (0.5, 1, 5), (0.0, 4, 0), (0.1, 3, 3), (0.1, 30, 10), (0.05, 0, 0)],
)
def test_sample_size(fraction, least, size):
    members = [member(i, i) for i in range(10)]
    assert len(sample(members, fraction, least, "seed")) == size
