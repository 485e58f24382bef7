"""What a vector is masked with: a node's own mask, and one with each other node."""

from ilora_app.secure import keys
from ilora_app.secure.adverts import KeySet
from ilora_app.secure.fixed_point import Ring


def own(key_set: KeySet, number: int, node: int, seed: bytes, length: int) -> Ring:
    """A node's own mask in a pass; shape (n,)."""
    return keys.stream(keys.derived(seed, key_set.own_mask(number, node)), length)


def between(
    key_set: KeySet,
    number: int,
    nodes: tuple[int, int],
    private: bytes,
    asked: bytes,
    length: int,
) -> Ring:
    """What a node adds for another in a pass, who takes the same off.

    Args:
        key_set: of the session.
        number: of the pass.
        nodes: who adds it, and the other.
        private: key of the pass of the former.
        asked: hash of what it was asked for.
        length: n.

    Returns:
        Shape (n,).

    """
    node, other = nodes
    about = key_set.mask(number, node, other, asked)
    public = key_set.by_node[other].masks[number]
    mask = keys.stream(keys.agreed(private, public, about), length)
    return mask if node < other else -mask
