"""The server's part of a session: it takes the masks off a sum, and of no part."""

from collections.abc import Collection, Mapping, Sequence

from ilora_app.secure import keys, masking, shamir
from ilora_app.secure.adverts import KeySet
from ilora_app.secure.errors import SecureError
from ilora_app.secure.fixed_point import Ring

Shares = Mapping[int, bytes]


def opened(
    key_set: KeySet,
    number: int,
    peers: Collection[int],
    masked: Mapping[int, Ring],
    revealed: Mapping[int, Shares],
    asked: bytes,
    false: set[int],
) -> Ring:
    """Sum of the vectors of the nodes that are left.

    Args:
        key_set: of the session.
        number: of the pass.
        peers: nodes whose masks are in the vectors.
        masked: vectors of one length, by node: those that are left.
        revealed: by node, its shares: see ``Participant.reveal``.
        asked: hash of what nodes were asked for: see ``Participant.enter``.
        false: nodes that have given wrong shares are added to it, where others have
            given enough that are right.

    Returns:
        Modulo 2^64, without what nodes have put behind it.

    Raises:
        SecureError: too few nodes have revealed their shares, a share is wrong, or
            nodes were not asked for the same.

    """
    threshold, left = key_set.threshold, sorted(masked)
    if len(revealed) < threshold:
        raise SecureError(
            f"{len(revealed)} nodes have revealed their shares, {threshold} must"
        )
    length = len(masked[left[0]])
    total = keys.summed(masked.values(), length)
    for node in sorted(peers):
        secret = _secret(key_set, number, node, node in masked, revealed, false)
        if node in masked:
            total -= masking.own(key_set, number, node, secret, length)
            continue
        for other in left:
            pair = node, other
            total += masking.between(key_set, number, pair, secret, asked, length)
    if total[-1] != len(left):
        raise SecureError("the masks do not cancel: nodes were asked different things")
    return total[:-1]


def _secret(
    key_set: KeySet,
    number: int,
    node: int,
    is_left: bool,
    revealed: Mapping[int, Shares],
    false: set[int],
) -> bytes:
    """Join the shares of t nodes; of others, where one of those has given wrong ones.

    Whose are wrong is noted in ``false``: t right ones that leave it out give a secret
    that has the hash, or the public key, of before.
    """
    advert, what = key_set.by_node[node], "seed" if is_left else "key"

    def joined(senders: Sequence[int]) -> bytes | None:
        places = tuple(key_set.index(sender) for sender in senders)
        shares = {
            place: revealed[sender].get(node, b"")
            for place, sender in zip(places, senders, strict=True)
        }
        try:
            secret = shamir.join(shares, shamir.weights(places))
        except SecureError:
            return None
        if is_left:
            return secret if keys.digest(what, secret) == advert.seeds[number] else None
        return secret if keys.public_key(secret) == advert.masks[number] else None

    right = [sender for sender in sorted(revealed) if sender not in false]
    chosen = right[: key_set.threshold]
    secret = joined(chosen)
    for sender in chosen if secret is None else ():
        others = [other for other in right if other != sender][: key_set.threshold]
        if len(others) == key_set.threshold and (secret := joined(others)) is not None:
            false.add(sender)
            break
    if secret is None:
        raise SecureError(
            f"shares of the {what} of node {node} are wrong, as one of nodes {chosen} "
            "has given them"
        )
    return secret
