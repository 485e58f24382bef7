"""The protocol of secure aggregation alone: nodes, a server, and what is refused."""

from collections.abc import Callable, Collection

import numpy as np
import pytest

from ilora_app.secure import (
    KeySet,
    Participant,
    SecureError,
    Terms,
    keys,
    opened,
)

TERMS = Terms(run=7, round=3, purpose="train", passes=2, least=3)
LENGTH = 50
ASKED = b"the same of all"


def vector(node: Participant, number: int, values, asked: bytes = ASKED):
    """What a node masks in a pass."""
    node.enter(number, asked)
    return node.mask(number, values)


class Session:
    """All nodes and the server, without a network."""

    def __init__(self, nodes: int = 7, gone: Collection[int] = ()) -> None:
        """``gone`` nodes send keys and no shares."""
        ids = [10 * i + 3 for i in range(nodes)]
        self.nodes = {i: Participant.begin(TERMS, i, None) for i in ids}
        adverts = [p.advert for p in self.nodes.values()]
        self.key_set = KeySet.of(TERMS, adverts)
        self.letters = {i: p.share(adverts, None) for i, p in self.nodes.items()}
        self.peers = [i for i in ids if i not in gone]
        self.inbox = {
            i: {j: self.letters[j][i] for j in self.peers if j != i} for i in self.peers
        }
        draw = np.random.default_rng(0)
        self.values = {i: draw.integers(0, 2**64, LENGTH, dtype=np.uint64) for i in ids}

    def receive(self) -> None:
        for i in self.peers:
            self.nodes[i].receive(self.inbox[i])

    def run(
        self,
        number: int,
        lost: Collection[int] = (),
        silent: Collection[int] = (),
        tamper: Callable[[dict], None] = lambda revealed: None,
    ) -> np.ndarray:
        """One pass; ``lost`` upload nothing, ``silent`` upload and reveal nothing."""
        there = [i for i in self.peers if i not in lost]
        masked = {i: vector(self.nodes[i], number, self.values[i]) for i in there}
        signed = {}
        if lost:
            signed = {i: self.nodes[i].agree(number, there) for i in there}
        speaks = [i for i in there if i not in silent]
        revealed = {i: self.nodes[i].reveal(number, there, signed) for i in speaks}
        tamper(revealed)
        self.false: set[int] = set()
        how = self.peers, masked, revealed, ASKED, self.false
        total = opened(self.key_set, number, *how)
        self.peers = there
        return total

    def sum(self, nodes: Collection[int]) -> np.ndarray:
        return keys.summed((self.values[i] for i in nodes), LENGTH)


@pytest.mark.parametrize("gone", [(), (13,)])
@pytest.mark.parametrize("lost", [(), (3,), (63,)])
@pytest.mark.parametrize("silent", [(), (23,)])
def test_the_sum_is_exact_whoever_drops_out_at_whatever_stage(gone, lost, silent):
    session = Session(13, gone)
    session.receive()
    there = [i for i in session.peers if i not in lost]
    assert (session.run(0, lost, silent) == session.sum(there)).all()
    # The second pass is masked anew, among those that were left.
    assert session.peers == there
    lost = (33, *silent)
    later = [i for i in there if i not in lost]
    assert (session.run(1, lost) == session.sum(later)).all()


def test_sums_of_one_update_are_over_the_same_nodes():
    """Else the second would show what the missing one had sent in the first."""
    terms = Terms(run=7, round=3, purpose="train", passes=3, least=3)
    nodes = {i: Participant.begin(terms, i, None) for i in range(1, 8)}
    adverts = [p.advert for p in nodes.values()]
    letters = {i: p.share(adverts, None) for i, p in nodes.items()}
    zeros = np.zeros(3, dtype=np.uint64)
    for i, node in nodes.items():
        node.receive({j: letters[j][i] for j in nodes if j != i})
        vector(node, 0, zeros)
        node.reveal(0, list(nodes), {})
        vector(node, 1, zeros)
    with pytest.raises(SecureError, match="between sums of one update"):
        nodes[1].agree(1, list(nodes)[:-1])
    for node in nodes.values():
        node.reveal(1, list(nodes), {})
        vector(node, 2, zeros)
    assert nodes[1].agree(2, list(nodes)[:-1])  # a measurement stands alone


@pytest.mark.parametrize("stage", ["shares", "upload", "reveal"])
def test_too_few_survivors_open_nothing(stage):
    session = Session(6, (3, 13) if stage == "shares" else ())  # t = 5

    def run():
        session.receive()
        lost = (3, 13) if stage == "upload" else ()
        session.run(0, lost, (3, 13) if stage == "reveal" else ())

    with pytest.raises(SecureError, match=r"4 nodes .*5 must"):
        run()


def test_fewer_nodes_than_the_least_share_nothing():
    two = [Participant.begin(TERMS, i, None) for i in (1, 2)]
    with pytest.raises(SecureError, match="2 nodes, secure-min-nodes is 3"):
        two[0].share([p.advert for p in two], None)


def test_letters_open_for_one_receiver_in_one_session_and_under_one_set_of_keys():
    session, other = Session(), Session()
    letter = session.letters[3]
    for sender, wrong in ((3, letter[23]), (23, letter[13]), (3, other.letters[3][13])):
        node = Session().nodes[13]
        node.adverts = session.nodes[13].adverts
        node.secrets = session.nodes[13].secrets
        with pytest.raises(SecureError, match="changed, or sealed for others"):
            node.receive({sender: wrong})
    flipped = bytearray(letter[13])
    flipped[20] ^= 1
    with pytest.raises(SecureError, match="changed"):
        session.nodes[13].receive({3: bytes(flipped)})


def test_a_node_masks_and_answers_once():
    session = Session(6)
    session.receive()
    session.run(0)
    node, peers = session.nodes[3], list(session.peers)
    for again, match in (
        (lambda: node.mask(0, session.values[3]), "has masked"),
        (lambda: node.receive(session.inbox[3]), "has opened"),
        (lambda: node.share(session.key_set.adverts, None), "has shared"),
        (lambda: node.reveal(0, peers[:-1], {}), "has said that others"),
        (lambda: vector(node, 2, session.values[3]), "not begun"),
        (lambda: node.reveal(1, peers, {}), "masked no vector"),
    ):
        with pytest.raises(SecureError, match=match):
            again()


def test_nobody_gets_both_kinds_of_shares_of_one_node():
    """A server that tells some that node 53 is gone, and others that it is not."""
    session = Session(6)
    session.receive()
    for i in session.peers:
        vector(session.nodes[i], 0, session.values[i])
    all_of, without = session.peers, session.peers[:-1]
    signed = {i: session.nodes[i].agree(0, without) for i in without[:3]}
    with pytest.raises(SecureError, match="3 nodes have signed"):
        session.nodes[3].reveal(0, without, signed)
    forged = signed | {33: signed[3], 43: signed[3]}
    with pytest.raises(SecureError, match="3 nodes have signed"):
        session.nodes[3].reveal(0, without, forged)
    with pytest.raises(SecureError, match="has said that others"):
        session.nodes[3].reveal(0, all_of, {})
    seeds = session.nodes[33].reveal(0, all_of, {})
    assert len(seeds) == 6
    with pytest.raises(SecureError, match="has said that others"):
        session.nodes[33].agree(0, without)


def test_what_the_server_holds_of_one_node_is_uniform():
    """Zeros, masked: bytes and their neighbours pass chi-squared tests.

    One seed a node is known to the server in the end, so that its own mask is taken
    off here: the masks among the nodes alone must do.
    """
    length = 1 << 16
    session = Session(4)
    session.receive()
    zeros = np.zeros(length, dtype=np.uint64)
    node = session.nodes[3]
    seed = node.secrets[2 + TERMS.passes]
    masked = vector(node, 0, zeros)[:-1]
    own = keys.stream(keys.derived(seed, session.key_set.own_mask(0, 3)), length)
    second = Session(4)
    second.receive()
    views = (masked, masked - own, vector(second.nodes[3], 0, zeros)[:-1] - masked)
    for view in views:
        found = view.view(np.uint8)
        for sample in (found, found[:-1] ^ found[1:], (view >> np.uint64(61))):
            kinds = 8 if sample.dtype == np.uint64 else 256
            counts = np.bincount(sample.astype(np.int64), minlength=kinds)
            expected = len(sample) / kinds
            chi = ((counts - expected) ** 2 / expected).sum()
            assert abs(chi - (kinds - 1)) < 6 * (2 * (kinds - 1)) ** 0.5


def test_a_revealed_key_tells_nothing_of_another_pass():
    session = Session(6)
    session.receive()
    session.run(0)
    session.run(1, lost=(53,))
    node = session.nodes[53]
    first, second = node.secrets[2], node.secrets[3]
    assert first != second
    about = session.key_set.mask(0, 3, 53, ASKED)
    public = session.key_set.by_node[3].masks[0]
    assert keys.agreed(first, public, about) != keys.agreed(second, public, about)
