"""The server's part of a session: it takes the masks off a sum, and of no part."""

from collections.abc import Collection, Mapping

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
) -> Ring:
    """Sum of the vectors of the nodes that are left.

    Args:
        key_set: of the session.
        number: of the pass.
        peers: nodes whose masks are in the vectors.
        masked: vectors of one length, by node: those that are left.
        revealed: by node, its shares: see ``Participant.reveal``.
        asked: hash of what nodes were asked for: see ``Participant.enter``.

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
    chosen = sorted(revealed)[:threshold]
    places = tuple(key_set.index(node) for node in chosen)
    by = shamir.weights(places)
    for node in sorted(peers):
        shares = {}
        for place, sender in zip(places, chosen, strict=True):
            if node not in revealed[sender]:
                raise SecureError(f"node {sender} has no share of node {node}")
            shares[place] = revealed[sender][node]
        try:
            secret = shamir.join(shares, by)
        except SecureError as error:
            raise SecureError(f"the secret of node {node}: {error}") from error
        advert = key_set.by_node[node]
        if node in masked:
            if keys.digest("seed", secret) != advert.seeds[number]:
                raise SecureError(f"shares of the seed of node {node} are wrong")
            total -= masking.own(key_set, number, node, secret, length)
            continue
        if keys.public_key(secret) != advert.masks[number]:
            raise SecureError(f"shares of the key of node {node} are wrong")
        for other in left:
            pair = node, other
            total += masking.between(key_set, number, pair, secret, asked, length)
    if total[-1] != len(left):
        raise SecureError("the masks do not cancel: nodes were asked different things")
    return total[:-1]
