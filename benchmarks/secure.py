"""What secure aggregation costs a round: bytes, messages and seconds, beside none.

    python -m benchmarks.secure [--json DIR] [--nodes 8,100]

The protocol alone, without messages of Flower and without training: ILoRA with QR on
the query and value layers of MiniLM (12 of 384 x 384), ranks 2, 4, 8 and 16, no head.
Bytes are of what nodes and the server have to send of keys, letters, shares and
masked numbers. Seconds are of one node and of the server, on one thread, in all steps
of a round: where all stay, and where one in ten drops out of training.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, report
from ilora_app.secure import FixedPoint, KeySet, Participant, Terms, keys, opened

LAYERS, SIDE, RANKS = 12, 384, (2, 4, 8, 16)
PASSES = 3
"""Y, R, and an evaluation, of which no vector is made here."""

ASKED = b"the same of all"

LENGTH = LAYERS * SIDE * max(RANKS)
"""Numbers of Y, and of R."""


class Round:
    """A round of so many nodes, of which some drop out before they send anything.

    Attributes:
        node, server: seconds of the first node, and of the server.
        up, down: bytes of the first node.

    """

    def __init__(self, nodes: int, gone: int) -> None:
        terms = Terms(1, 1, "train", PASSES, 3)
        self.up = self.down = 0
        self.node = self.server = 0.0
        parts = [self._of_one(Participant.begin, terms, i, None) for i in range(nodes)]
        adverts = [part.advert for part in parts]
        key_set = KeySet.of(terms, adverts)
        size = len(adverts[0].encoded())
        self.up += size
        self.down += size * nodes
        letters = {p.node: self._of_one(p.share, adverts, None) for p in parts}
        letter = len(letters[0][1]) + 8
        self.up += letter * (nodes - 1)
        self.down += letter * (nodes - 1)
        for part in parts:
            inbox = {i: letters[i][part.node] for i in letters if i != part.node}
            self._of_one(part.receive, inbox)
        left = list(range(nodes - gone))
        peers = list(range(nodes))
        for number in range(2):
            peers = self._sum(parts, key_set, number, peers, left)

    def _of_one(self, work, *arguments):  # type: ignore[no-untyped-def]
        """Do the work of a node; the first one is timed."""
        clock = time.process_time()
        found = work(*arguments)
        spent = time.process_time() - clock
        node = getattr(work, "__self__", None)
        first = node.node == 0 if isinstance(node, Participant) else arguments[1] == 0
        self.node += spent if first else 0.0
        return found

    def _sum(
        self,
        parts: list[Participant],
        key_set: KeySet,
        number: int,
        peers: list[int],
        left: list[int],
    ) -> list[int]:
        """One vector: masked, summed, and opened."""
        point = FixedPoint(len(parts), 2.0**32)
        values = point.encode(np.linspace(-1, 1, LENGTH))
        for i in left:
            self._of_one(parts[i].enter, number, ASKED)
        masked = {i: self._of_one(parts[i].mask, number, values) for i in left}
        signed = {}
        if left != peers:
            signed = {i: self._of_one(parts[i].agree, number, left) for i in left}
        revealed = {
            i: self._of_one(parts[i].reveal, number, left, signed) for i in left
        }
        clock = time.process_time()
        total = opened(key_set, number, peers, masked, revealed, ASKED)
        self.server += time.process_time() - clock
        if not (total == keys.summed([values] * len(left), LENGTH)).all():
            raise AssertionError("the sum is wrong")
        self.up += values.nbytes + 8 + len(peers) * (33 + 8) + (64 if signed else 0)
        self.down += len(left) * 8 * (2 if signed else 1) + len(signed) * (64 + 8)
        return left


def rows(nodes: int) -> list[Row]:
    """What a round costs beside a plain one."""
    factors = 4 * LAYERS * 2 * SIDE * sum(RANKS) / len(RANKS)
    basis = 8 * LENGTH  # Q, which goes down between the two sums
    found = []
    for gone in sorted({0, nodes // 10}):
        cost = Round(nodes, gone)
        where = f"{nodes} nodes" + (f", {gone} drop out" if gone else "")
        for what, value in (
            ("MB up a node", cost.up / 1e6),
            ("MB down a node", (factors + basis + cost.down) / 1e6),
        ):
            plain = factors / 1e6
            found.append(
                Row(f"{where}: {what}", f"{value:.3g}", f"{plain:.3g}", value / plain)
            )
        messages = 7 if gone else 6  # who is left is signed of the first sum alone
        found += [
            Row(f"{where}: messages a node", str(messages), "1", float(messages)),
            Row(f"{where}: seconds of a node", f"{cost.node:.3g}"),
            Row(f"{where}: seconds of the server", f"{cost.server:.3g}"),
        ]
    return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--nodes", default="8,100")
    given = parser.parse_args()
    found: list[Row] = []
    for nodes in map(int, given.nodes.split(",")):
        found += rows(nodes)
    report("secure", found, given.json)


if __name__ == "__main__":
    main()
