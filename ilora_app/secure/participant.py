"""One node in one session: what it says, masks and reveals, and what it refuses.

Keys, then shares, then for every pass a masked vector and what takes the masks off.
A node masks one vector a pass, and says of every pass one time who is left. So nobody
gets of it both the seed of a peer's own mask and the key of that peer's other masks.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ilora_app.secure import keys, letters, masking, shamir
from ilora_app.secure.adverts import Advert, KeySet
from ilora_app.secure.errors import SecureError
from ilora_app.secure.fixed_point import ONE, Ring
from ilora_app.secure.identity import Roster, Signer
from ilora_app.secure.terms import Terms

_LETTER = 2 * shamir.SHARE


@dataclass
class Participant:
    """A node.

    Attributes:
        terms: of the session.
        node: its id.
        secrets: private keys and seeds: letters, signs, masks, seeds.
        advert: its public keys.
        adverts: of all nodes, as it was shown them; empty at first.
        held: the shares it holds, of a node: for every pass that of the seed and that
            of the key.
        peers: with whom its vector is masked in each pass, itself included.
        asked: hash of what it was asked for in each pass that it has entered.
        masked: passes whose vector it has masked.
        left: who is left of a pass, as it has said.

    """

    terms: Terms
    node: int
    secrets: list[bytes]
    advert: Advert
    adverts: list[Advert] = field(default_factory=list)
    held: dict[int, bytes] = field(default_factory=dict)
    peers: dict[int, list[int]] = field(default_factory=dict)
    asked: dict[int, bytes] = field(default_factory=dict)
    masked: list[int] = field(default_factory=list)
    left: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, terms: Terms, node: int, signer: Signer | None, rank: int = 1
    ) -> "Participant":
        """Make fresh keys.

        Args:
            terms, node, rank: as of its advert.
            signer: with its long-term key, where nodes have one.

        """
        count = terms.passes
        letters, signs = keys.private_key(), keys.signing_key()
        masks = [keys.private_key() for _ in range(count)]
        seeds = [os.urandom(keys.KEY) for _ in range(count)]
        facts = (
            node,
            rank,
            keys.public_key(letters),
            keys.verifying_key(signs),
            tuple(keys.public_key(mask) for mask in masks),
            tuple(keys.digest("seed", seed) for seed in seeds),
        )
        advert = Advert(*facts, identity=signer.identity if signer else b"")
        if signer:
            advert = replace(advert, signature=signer.sign(advert.text(terms)))
        secrets = [letters, signs, *masks, *seeds]
        return cls(terms, node, secrets, advert)

    @property
    def key_set(self) -> KeySet:
        """All nodes of the session.

        Raises:
            SecureError: it was shown none yet.

        """
        if not self.adverts:
            raise SecureError("the keys of the others come first")
        return KeySet.of(self.terms, self.adverts)

    @property
    def shared_rank(self) -> int:
        """Directions that enough of those hold with which its vectors are masked."""
        return self.key_set.shared_rank(self.peers[0])

    def share(
        self, adverts: Sequence[Advert], roster: Roster | None
    ) -> dict[int, bytes]:
        """Share its secrets among all nodes; returns a sealed letter for each other.

        Args:
            adverts: of all nodes.
            roster: who may take part; None: whoever the server shows.

        Raises:
            SecureError: they are too few, its own keys are not among them, or one is
                not in the roster; or it was shown others before.

        """
        if self.adverts:
            raise SecureError("it has shared its secrets in this session")
        key_set = KeySet.of(self.terms, adverts)
        if key_set.by_node.get(self.node) != self.advert:
            raise SecureError("its own keys are not those that it has sent")
        if roster:
            roster.check(key_set)
        self.adverts = list(key_set.adverts)
        count, nodes = self.terms.passes, len(adverts)
        masks, seeds = self.secrets[2 : 2 + count], self.secrets[2 + count :]
        shares = [
            shamir.split(secret, key_set.threshold, nodes)
            for pair in zip(seeds, masks, strict=True)
            for secret in pair
        ]
        texts = {
            other.node: b"".join(share[i] for share in shares)
            for i, other in enumerate(key_set.adverts)
        }
        self.held[self.node] = texts.pop(self.node)
        private, own = self.secrets[0], self.node
        return {
            other: letters.sealed(key_set, own, other, private, text)
            for other, text in texts.items()
        }

    def receive(self, sent: Mapping[int, bytes]) -> None:
        """Open the letters of the others; who sent one is masked with.

        Raises:
            SecureError: as of :func:`letters.read`, too few, or they came before.

        """
        if self.peers:
            raise SecureError("it has opened the shares of this session")
        length, how = _LETTER * self.terms.passes, (self.node, self.secrets[0])
        self.held |= letters.read(self.key_set, *how, sent, length)
        self.peers[0] = self.key_set.enough(self.held, "have shared their secrets")

    def enter(self, number: int, asked: bytes) -> None:
        """Begin a pass: in order, each a single time, whatever comes of it.

        A vector that is refused says something of its numbers, and is not tried again.

        Args:
            number: of the pass.
            asked: hash of what the server wants of all nodes. Between two of whom it
                wants something else the masks do not cancel.

        Raises:
            SecureError: it has begun, or the pass before is not over.

        """
        if number in self.asked:
            raise SecureError(f"it was asked for a vector in pass {number} before")
        if number not in self.peers:
            raise SecureError(f"pass {number} has not begun")
        self.asked[number] = asked

    def mask(self, number: int, values: Ring) -> Ring:
        """Mask the vector of a pass, and :data:`ONE` behind it.

        Raises:
            SecureError: it has masked one in this pass, or has not entered it.

        """
        if number in self.masked:
            raise SecureError(f"it has masked a vector in pass {number}")
        if number not in self.asked:
            raise SecureError(f"pass {number} has not begun")
        self.masked.append(number)
        values = np.append(values, ONE)
        key_set, length, asked = self.key_set, len(values), self.asked[number]
        private = self.secrets[2 + number]
        seed = self.secrets[2 + self.terms.passes + number]
        total = values + masking.own(key_set, number, self.node, seed, length)
        for peer in set(self.peers[number]) - {self.node}:
            pair = self.node, peer
            total += masking.between(key_set, number, pair, private, asked, length)
        return total

    def agree(self, number: int, survivors: Sequence[int]) -> bytes:
        """Say who is left of a pass: a signature. It never says another thing.

        Raises:
            SecureError: too few, others than it has masked with, or it has said
                something else.

        """
        self._say(number, survivors)
        return keys.sign(self.secrets[1], self.key_set.left(number, survivors))

    def reveal(
        self, number: int, survivors: Sequence[int], signed: Mapping[int, bytes]
    ) -> dict[int, bytes]:
        """Give its shares: of a survivor that of the seed, of others that of the key.

        Args:
            number: of the pass.
            survivors: whose vectors are summed.
            signed: what nodes have signed where not all are left.

        Raises:
            SecureError: as :meth:`agree`, or too few nodes have signed the same.

        """
        self._say(number, survivors)
        left, peers = set(survivors), self.peers[number]
        if left != set(peers):
            found = self.key_set.signers(number, survivors, signed)
            if found < (least := self.key_set.threshold):
                raise SecureError(
                    f"{found} nodes have signed who is left, {least} must"
                )
        self.peers[number + 1] = sorted(left)
        start = number * _LETTER
        middle, end = start + shamir.SHARE, start + _LETTER
        return {
            peer: text[start:middle] if peer in left else text[middle:end]
            for peer, text in ((peer, self.held[peer]) for peer in peers)
        }

    def _say(self, number: int, survivors: Sequence[int]) -> None:
        if number not in self.masked:
            raise SecureError(f"it has masked no vector in pass {number}")
        left = sorted(set(survivors))
        if len(left) != len(survivors) or not set(left) <= set(self.peers[number]):
            raise SecureError("nodes are left that it has not masked with")
        if self.node not in left:
            raise SecureError("it is not among the nodes that are left")
        if 0 < number < self.terms.joint and left != self.peers[number]:
            raise SecureError("nodes dropped out between sums of one update")
        self.key_set.enough(left, "are left")
        if not number and self.key_set.shared_rank(left) < self.shared_rank:
            raise SecureError("too few that are left hold a direction")
        if self.left.setdefault(number, left) != left:
            raise SecureError("it has said that others are left")
