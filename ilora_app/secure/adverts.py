"""What nodes say of themselves in a session, and the set of it that all must see alike.

Each node makes fresh keys in every session: one to have letters sealed, one to sign
with, and for every pass (every vector that is summed) one to agree on masks, and a
hash of the seed of its own mask. A pass has keys of its own since one that was
reconstructed for a node that dropped out tells what it masked in that pass.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ilora_app.secure.errors import SecureError
from ilora_app.secure.keys import (
    KEY,
    agreed,
    digest,
    is_signed,
    packed,
    private_key,
)
from ilora_app.secure.terms import Terms

_NODE, _SIZE = 8, 4
_START = _NODE + _SIZE
_FIXED = _START + 2 * KEY


@dataclass(frozen=True)
class Advert:
    """Public keys of one node in one session.

    Attributes:
        node: its id.
        rank: directions in which it adds to sums that are made direction by direction.
        letters: key with which shares are sealed for it (X25519).
        signs: key with which it says who is left (Ed25519).
        masks: a key a pass (X25519).
        seeds: SHA-256 of the seed of its own mask, one a pass.
        identity: its long-term key, DER; empty where nodes have none.
        signature: of :meth:`text` by that key.

    """

    node: int
    rank: int
    letters: bytes
    signs: bytes
    masks: tuple[bytes, ...]
    seeds: tuple[bytes, ...]
    identity: bytes = b""
    signature: bytes = b""

    def text(self, terms: Terms) -> bytes:
        """What is signed."""
        return packed(
            terms.text,
            self.node,
            self.rank,
            self.letters,
            self.signs,
            *self.masks,
            *self.seeds,
            self.identity,
        )

    def encoded(self) -> bytes:
        """Write."""
        return b"".join(
            (
                self.node.to_bytes(_NODE, "big"),
                self.rank.to_bytes(_SIZE, "big"),
                self.letters,
                self.signs,
                *self.masks,
                *self.seeds,
                len(self.identity).to_bytes(_SIZE, "big"),
                self.identity,
                self.signature,
            )
        )

    def check(self) -> None:
        """See that others can agree on something with its keys.

        Raises:
            SecureError: one is no key, or of low order.

        """
        own = private_key()
        for public in (self.letters, *self.masks):
            agreed(own, public, b"check")

    @classmethod
    def decoded(cls, data: bytes, passes: int) -> "Advert":
        """Read.

        Raises:
            SecureError: it has another length.

        """
        keys = _FIXED + 2 * passes * KEY
        end = keys + _SIZE + int.from_bytes(data[keys : keys + _SIZE], "big")
        if len(data) < end:
            raise SecureError("keys of a node are incomplete")
        parts = [data[i : i + KEY] for i in range(_START, keys, KEY)]
        found = cls(
            int.from_bytes(data[:_NODE], "big"),
            int.from_bytes(data[_NODE:_START], "big"),
            parts[0],
            parts[1],
            tuple(parts[2 : 2 + passes]),
            tuple(parts[2 + passes :]),
            data[keys + _SIZE : end],
            data[end:],
        )
        if len(found.signature) > 1024:
            raise SecureError("keys of a node are too long")
        return found


@dataclass(frozen=True)
class KeySet:
    """The nodes of a session, as they were shown to one of them.

    Attributes:
        terms: of the session.
        adverts: of the nodes, by ascending id.
        by_node: the same by id.
        digest: hash of all that the nodes must have seen alike.

    Raises:
        SecureError: too few nodes, or one twice.

    """

    terms: Terms
    adverts: tuple[Advert, ...]
    by_node: dict[int, Advert] = field(init=False, repr=False, compare=False)
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        nodes = [advert.node for advert in self.adverts]
        if nodes != sorted(set(nodes)):
            raise SecureError("keys of one node are there twice")
        if len(nodes) < self.terms.least:
            raise SecureError(
                f"{len(nodes)} nodes, secure-min-nodes is {self.terms.least}"
            )
        found = {advert.node: advert for advert in self.adverts}
        object.__setattr__(self, "by_node", found)
        texts = (advert.text(self.terms) for advert in self.adverts)
        object.__setattr__(self, "digest", digest(*texts))

    @classmethod
    def of(cls, terms: Terms, adverts: Sequence[Advert]) -> "KeySet":
        """In the one order."""
        return cls(terms, tuple(sorted(adverts, key=lambda advert: advert.node)))

    @property
    def threshold(self) -> int:
        """t = floor(2 n / 3) + 1, and never fewer than the least.

        With more than two thirds two sets of t nodes have an honest one in common as
        long as less than a third work with the server: nobody can be shown as there to
        some and as gone to others.
        """
        return max(2 * len(self.adverts) // 3 + 1, self.terms.least)

    def shared_rank(self, nodes: Collection[int]) -> int:
        """Directions that enough of some nodes hold: a sum over fewer is none."""
        ranks = sorted((self.by_node[node].rank for node in nodes), reverse=True)
        return ranks[self.terms.least - 1] if len(ranks) >= self.terms.least else 0

    def enough(self, nodes: Collection[int], what: str) -> list[int]:
        """Nodes in order, as many as it takes to open a sum.

        Raises:
            SecureError: they are fewer.

        """
        if len(nodes) < self.threshold:
            raise SecureError(f"{len(nodes)} nodes {what}, {self.threshold} must")
        return sorted(nodes)

    def index(self, node: int) -> int:
        """I of a node: at which number its shares are taken, from 1."""
        return [advert.node for advert in self.adverts].index(node) + 1

    def about(self, sender: int, receiver: int) -> bytes:
        """What a sealed letter is about: it opens under no other."""
        return packed(self.digest, "shares", sender, receiver)

    def mask(self, number: int, one: int, other: int, asked: bytes) -> bytes:
        """What a mask between two is derived for; the same if both were asked alike."""
        pair = min(one, other), max(one, other)
        return packed(self.digest, "mask", number, *pair, asked)

    def own_mask(self, number: int, node: int) -> bytes:
        """What a node's own mask is derived for."""
        return packed(self.digest, "own mask", number, node)

    def left(self, number: int, survivors: Sequence[int]) -> bytes:
        """What nodes sign where some have dropped out of a pass."""
        return packed(self.digest, "left", number, *sorted(survivors))

    def signers(
        self, number: int, survivors: Sequence[int], signed: Mapping[int, bytes]
    ) -> int:
        """How many survivors have signed that these are left of a pass."""
        text, left = self.left(number, survivors), set(survivors)
        return sum(
            node in left and is_signed(self.by_node[node].signs, text, signature)
            for node, signature in signed.items()
        )
