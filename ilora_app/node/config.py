"""``--node-config``: every key that a node may have, checked on the node."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from ilora_app import wire
from ilora_app.node.auto_rank import AUTO
from ilora_app.node.persistence import STATE_PATH
from ilora_app.settings import parsing


@dataclass(frozen=True)
class Key:
    """A key: what is right, in words, and the test for it."""

    right: str
    kind: type
    least: int = 0


KEYS = {
    wire.PARTITION: Key("a whole number from 0", int),
    wire.PARTITIONS: Key("a whole number above 0", int, 1),
    wire.RANK: Key(f'a whole number above 0, or "{AUTO}"', int, 1),
    wire.DATA_PATH: Key("a folder", str),
    STATE_PATH: Key("an absolute folder, or one under ~", str),
}


def problems(node_config: Mapping[str, object]) -> list[str]:
    """Say what is wrong with a node's config: unknown keys, and values."""
    found = []
    for name, value in node_config.items():
        key = KEYS.get(name)
        if key is None:
            close = difflib.get_close_matches(name, KEYS, n=1)
            known = "the keys are " + ", ".join(KEYS)
            hint = f"did you mean {close[0]}?" if close else known
            found.append(
                f"--node-config {parsing.shown(name)[1:-1]} = {parsing.shown(value)}: "
                f"there is no such key; {hint}"
            )
        elif not _is_right(name, value, key):
            found.append(f"--node-config {parsing.describe(name, value, key.right)}")
    return found


def _is_right(name: str, value: object, key: Key) -> bool:
    if name == wire.RANK and value == AUTO:
        return True
    if type(value) is not key.kind:
        return False
    return value >= key.least if isinstance(value, int) else bool(value)


class NodeError(ValueError):
    """A node that cannot take part as it is configured."""


def partition(facts: Mapping[str, object]) -> tuple[int, int]:
    """Read which partition a node holds, of how many.

    Raises:
        NodeError: it is none.

    """
    number, of = facts.get(wire.PARTITION), facts.get(wire.PARTITIONS)
    if not isinstance(number, int) or not isinstance(of, int):
        raise NodeError(
            f"--node-config {wire.PARTITION} = {number!r}, {wire.PARTITIONS} = "
            f"{of!r}: expected whole numbers, such as "
            f'"{wire.PARTITION}=0 {wire.PARTITIONS}=2", or a folder of its own, '
            f"such as "
            f"\"{wire.DATA_PATH}='/data/train'\""
        )
    if not 0 <= number < of:
        raise NodeError(
            f"--node-config {wire.PARTITION} = {number}: expected 0 to "
            f"{of - 1}, as {wire.PARTITIONS} = {of}"
        )
    return number, of
