"""What is changed in a good reply: see ``telling`` for how."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from ilora_app import wire

TEXTS = st.one_of(
    st.sampled_from(
        ["", "\0", "a\nINFO: b\x1b[2J", "\u202eabc", "../x", "$x_{$", "é" * 99]
    ),
    st.text(max_size=20),
)
INTEGERS = st.sampled_from(
    [-(2**63), -1, 0, 1, 2, 3, 7, 2**31, 2**53 + 1, 2**62, 2**63 - 1]
)
FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 5e-324, 1e-45, 1e-30, 1e15, 1e30, 1e38, 1e300, -1e300]),
    st.floats(),
)
NUMBERS = st.one_of(INTEGERS, FLOATS)
METRICS = st.one_of(
    NUMBERS, st.lists(INTEGERS, max_size=3), st.lists(FLOATS, max_size=3)
)
FACTS = st.one_of(
    METRICS, TEXTS, st.booleans(), st.binary(max_size=9), st.lists(TEXTS, max_size=3)
)
KEYS = st.one_of(
    TEXTS,
    st.sampled_from(
        [v for n, v in vars(wire).items() if n.isupper() and isinstance(v, str)]
    ),
)
RECORDS = st.sampled_from(
    [
        wire.ARRAYS, wire.CORRECTION, wire.METRICS, wire.CONFIG, wire.SLOTS, wire.EXTRA,
        wire.HEAD_SUMS, wire.EVALUATION, wire.PROGRESS, "strange\n",
    ]
)  # fmt: skip
VALUES = [
    "nan",
    "inf",
    "-inf",
    "0",
    "1e-45",
    "1e15",
    "1e30",
    "3e38",
    "x1000",
    "x-5",
    "bits",
]
FORMS = [
    "rename",
    "drop",
    "add",
    "twice",
    "empty",
    "long",
    "flat",
    "rank",
    "wide",
    "float64",
    "float16",
    "int8",
    "object",
]
RAW = [
    "nothing",
    "torn",
    "archive",
    "long header",
    "deep",
    "huge shape",
    "text",
]
ARRAY = ["rename", "twice", "numpy", "dtype", "shape", "stype"]


@dataclass(frozen=True)
class Lie:
    """What is done to a reply: a name, and what it is done with."""

    what: str
    record: str = ""
    number: int = 0
    value: Any = None
    key: str = ""


def lies() -> st.SearchStrategy[list[Lie]]:
    """Up to three changes of one reply."""
    small = st.integers(0, 5)
    # What is in the reply is changed most of the time.
    there = st.one_of(st.just(wire.ARRAYS), RECORDS)
    one = st.one_of(
        st.builds(Lie, st.just("values"), there, small, st.sampled_from(VALUES)),
        st.builds(Lie, st.just("form"), there, small, st.sampled_from(FORMS)),
        st.builds(Lie, st.just("raw"), there, small, st.sampled_from(RAW)),
        st.builds(Lie, st.just("array"), there, small, st.sampled_from(ARRAY)),
        st.builds(Lie, st.just("metric"), RECORDS, small, METRICS, KEYS),
        st.builds(Lie, st.just("fact"), RECORDS, small, FACTS, KEYS),
        st.builds(Lie, st.just("without"), RECORDS, small),
        st.builds(Lie, st.just("exchange"), RECORDS, small, RECORDS),
        st.builds(Lie, st.just("without key"), RECORDS, small),
        st.builds(Lie, st.just("error"), value=TEXTS),
        st.builds(
            Lie, st.just("from"), value=st.sampled_from([-1, 0, 1, 3, 77, 2**63])
        ),
        st.builds(Lie, st.sampled_from(["empty", "no content", "twice", "nothing"])),
    )
    return st.lists(one, min_size=1, max_size=3)
