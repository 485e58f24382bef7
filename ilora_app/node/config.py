"""``--node-config``: every key that a node may have, checked on the node."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ilora_app import wire
from ilora_app.node.auto_rank import AUTO
from ilora_app.node.persistence import STATE_PATH
from ilora_app.settings import parsing
from ilora_app.settings.mistake import MistakeError


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
    wire.DATA_PATH: Key("a folder or a file", str),
    STATE_PATH: Key("an absolute folder, or one under ~", str),
    wire.SECURE_REQUIRED: Key("true or false", bool),
    wire.SECURE_LEAST: Key("a whole number above 0", int, 1),
    wire.SECURE_KEY: Key("a file with a private key", str),
    wire.SECURE_ROSTER: Key("a file with public keys", str),
}


def problems(node_config: Mapping[str, object]) -> list[tuple[str, str]]:
    """Say what is wrong with a node's config: unknown keys, and values.

    Returns:
        Each for the node's own log, and for others.

    """
    found = []
    for name, value in node_config.items():
        key, what = KEYS.get(name), parsing.shown(name)[1:-1]
        given = f"--node-config {what} = {parsing.shown(value)}"
        if key is None:
            close = difflib.get_close_matches(name, KEYS, n=1)
            known = "the keys are " + ", ".join(KEYS)
            hint = f"did you mean {close[0]}?" if close else known
            told = f"--node-config has a key that is none; {hint}"
            found.append((f"{given}: there is no such key; {hint}", told))
        elif not _is_right(name, value, key):
            told = f"--node-config {name}: expected {key.right}"
            found.append((f"{given}: expected {key.right}", told))
    return found


def _is_right(name: str, value: object, key: Key) -> bool:
    if name == wire.RANK and isinstance(value, str):
        # A number in quotes too: files that start nodes fill in one as they do AUTO.
        return value == AUTO or bool(re.fullmatch("[1-9][0-9]{0,8}", value))
    if type(value) is not key.kind:
        return False
    if isinstance(value, bool):
        return True
    return value >= key.least if isinstance(value, int) else bool(value)


class NodeError(MistakeError):
    """A node that cannot take part as it is configured."""


def partition(facts: Mapping[str, object]) -> tuple[int, int]:
    """Read which partition a node holds, of how many.

    Raises:
        NodeError: it is none.

    """
    number, of = facts.get(wire.PARTITION), facts.get(wire.PARTITIONS)
    if not isinstance(number, int) or not isinstance(of, int):
        raise NodeError.openly(
            f"--node-config {wire.PARTITION} = {number!r}, {wire.PARTITIONS} = "
            f"{of!r}: expected whole numbers, such as "
            f'"{wire.PARTITION}=0 {wire.PARTITIONS}=2", or a folder of its own, '
            f"such as "
            f"\"{wire.DATA_PATH}='/data/train'\""
        )
    if not 0 <= number < of:
        raise NodeError.openly(
            f"--node-config {wire.PARTITION} = {number}: expected 0 to "
            f"{of - 1}, as {wire.PARTITIONS} = {of}"
        )
    return number, of
