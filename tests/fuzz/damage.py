"""What becomes of bytes on a disk, or in the hands of somebody who wants it so."""

from dataclasses import dataclass

from hypothesis import strategies as st

WHOLE = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "object": b"{}",
    "number": b"1e999",
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 20_000,
    "long number": b"9" * 5000,
    "zeros": bytes(1000),
    "utf-16": "\ufeffabc".encode("utf-16"),
    "latin-1": b"caf\xe9\n",
    "archive": b"PK\x03\x04" + bytes(40),
    "program": b"\x80\x04cos\nsystem\nX\x04\x00\x00\x00trueR.",
    "header": (2**63 - 1).to_bytes(8, "little") + b"{}",
}
PARTS = [
    b"\x00", b"\xff", b"\n", b'"', b"{", b"]", b"-1", b"NaN", b"Infinity", b"1e400",
    b"null", b"true", b"[]", b"{}", b"9" * 400, b"9" * 5000, b"\\ud800",
    b"\xe2\x80\xae",     b"[" * 9000, b"<script>", b"../../x",
]  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """One change of bytes; ``where`` is a part of their length, in thousandths."""

    how: str
    where: int = 0
    part: bytes = b""
    count: int = 1


def damages() -> st.SearchStrategy[list[Damage]]:
    """Up to three changes."""
    where, part = st.integers(0, 999), st.sampled_from(PARTS)
    one = st.one_of(
        st.builds(Damage, st.just("cut"), where),
        st.builds(Damage, st.just("flip"), where, st.binary(min_size=1, max_size=4)),
        st.builds(Damage, st.just("insert"), where, part),
        st.builds(Damage, st.just("value"), where, part),
        st.builds(Damage, st.just("remove"), where, count=st.integers(1, 40)),
        st.builds(Damage, st.just("whole"), part=st.sampled_from(list(WHOLE.values()))),
        st.builds(Damage, st.just("again"), where),
    )
    return st.lists(one, min_size=1, max_size=3)


def damage(data: bytes, done: list[Damage]) -> bytes:
    """Change bytes by one after the other."""
    for one in done:
        data = _damaged(data, one)
    return data


def _damaged(data: bytes, one: Damage) -> bytes:
    place = len(data) * one.where // 1000
    before, after = data[:place], data[place:]
    if one.how == "cut":
        return before
    if one.how == "flip":
        return before + one.part + after[len(one.part) :]
    if one.how == "insert":
        return before + one.part + after
    if one.how == "value":
        # What stands between two separators: a value, more often than not.
        start = max(before.rfind(c) for c in b":=[, ") + 1
        ends = [i for i in map(after.find, (b",", b"\n", b"}", b"]")) if i >= 0]
        return data[:start] + one.part + after[min(ends, default=0) :]
    if one.how == "remove":
        return before + after[one.count :]
    if one.how == "whole":
        return one.part
    return data + after
