"""Whose keys a node takes for a node's, and what a server cannot put in their place."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization as serial
from cryptography.hazmat.primitives.asymmetric import ec

from ilora_app.secure import Advert, Participant, Roster, SecureError, Signer, Terms
from tests.test_secure_protocol import TERMS


def test_nodes_that_are_shown_different_keys_cannot_open_each_others_letters():
    nodes = {i: Participant.begin(TERMS, i, None) for i in range(1, 6)}
    adverts = [p.advert for p in nodes.values()]
    other = Participant.begin(TERMS, 5, None).advert  # substituted by the server
    letters = {i: nodes[i].share(adverts, None) for i in (1, 2, 3)}
    nodes[4].share([*adverts[:4], other], None)
    with pytest.raises(SecureError, match="node 1: shares that were changed"):
        nodes[4].receive({i: letters[i][4] for i in (1, 2, 3)})
    with pytest.raises(SecureError, match="its own keys are not"):
        nodes[5].share([*adverts[:4], other], None)


def test_the_roster_keeps_invented_nodes_out():
    owners = [Signer(ec.generate_private_key(ec.SECP384R1())) for _ in range(4)]
    public = [
        owner.key.public_key().public_bytes(
            serial.Encoding.OpenSSH, serial.PublicFormat.OpenSSH
        )
        for owner in owners[:3]
    ]
    roster = Roster.read(b"# nodes\n" + b" node\n".join(public))

    def refused(signers, match):
        nodes = [Participant.begin(TERMS, i, s) for i, s in enumerate(signers)]
        adverts = [Advert.decoded(p.advert.encoded(), 2) for p in nodes]
        with pytest.raises(SecureError, match=match):
            nodes[0].share(adverts, roster)

    nodes = [Participant.begin(TERMS, i, s) for i, s in enumerate(owners[:3])]
    assert len(nodes[0].share([p.advert for p in nodes], roster)) == 2
    refused(owners, "node 3 is not in the roster")
    refused([*owners[:3], None], "node 3 is not in the roster")
    refused([*owners[:3], owners[1]], "node 3 has the key of another")
    # Keys of another session, with the signature that was right there.
    nodes = [Participant.begin(TERMS, i, s) for i, s in enumerate(owners[:3])]
    old = Participant.begin(Terms(7, 2, "train", 2, 3), 2, owners[2]).advert
    with pytest.raises(SecureError, match="node 2 has not signed"):
        nodes[0].share([nodes[0].advert, nodes[1].advert, old], roster)


def test_keys_of_low_order_are_found_before_others_see_them():
    """With such a key everybody would agree on zeros."""
    right = Participant.begin(TERMS, 3, None).advert
    right.check()
    for wrong in (
        replace(right, letters=bytes(32)),
        replace(right, masks=(right.masks[0], b"\1" + bytes(31))),
    ):
        with pytest.raises(SecureError, match="a public key is none"):
            wrong.check()
