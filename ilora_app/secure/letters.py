"""Sealed letters in which nodes give each other their shares."""

from collections.abc import Mapping

from ilora_app.secure import keys
from ilora_app.secure.adverts import KeySet
from ilora_app.secure.errors import SecureError, at_fault


def sealed(
    key_set: KeySet, sender: int, receiver: int, private: bytes, text: bytes
) -> bytes:
    """Write a letter.

    Args:
        key_set: of the session.
        sender, receiver: of the letter.
        private: the sender's key for letters.
        text: shares.

    """
    about = key_set.about(sender, receiver)
    key = keys.agreed(private, key_set.by_node[receiver].letters, about)
    return keys.seal(key, text, about)


def read(
    key_set: KeySet,
    receiver: int,
    private: bytes,
    letters: Mapping[int, bytes],
    length: int,
) -> dict[int, bytes]:
    """Open letters of others, by sender; arguments as of :func:`sealed`.

    Raises:
        SecureError: one is of nobody in the session, changed, sealed in another session
            or for another set of keys, or its text has not this length.

    """
    found = {}
    for sender, letter in letters.items():
        if sender == receiver or sender not in key_set.by_node:
            raise SecureError(f"shares of node {sender}, which has sent no keys")
        about = key_set.about(sender, receiver)
        key = keys.agreed(private, key_set.by_node[sender].letters, about)
        try:
            found[sender] = keys.unseal(key, letter, about)
        except SecureError as error:
            raise at_fault(sender, str(error)) from error
        if len(found[sender]) != length:
            raise at_fault(sender, "shares of another length")
    return found
