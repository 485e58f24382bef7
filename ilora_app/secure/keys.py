"""Keys of a session: agreement, derivation, sealed letters, and streams of masks.

X25519, Ed25519, HKDF with SHA-256, ChaCha20-Poly1305 and ChaCha20, all of them from
``cryptography``.
"""

import hashlib
import os
from collections.abc import Iterable

import numpy as np
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ilora_app.secure.errors import SecureError
from ilora_app.secure.fixed_point import Ring

KEY = 32
"""Bytes of a key, public or private, and of a seed."""

_NONCE = 12


def packed(*parts: bytes | int | str) -> bytes:
    """One text of several parts, that no other parts give: each after its length."""
    found = []
    for part in parts:
        if isinstance(part, int):
            part = part.to_bytes(16, "big", signed=True)
        elif isinstance(part, str):
            part = part.encode()
        found += [len(part).to_bytes(8, "big"), part]
    return b"".join(found)


def digest(*parts: bytes | int | str) -> bytes:
    """SHA-256 of parts: 32 bytes."""
    return hashlib.sha256(packed(*parts)).digest()


def private_key() -> bytes:
    """A new private key of X25519."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_key(private: bytes) -> bytes:
    """The public key of a private one."""
    try:
        found = X25519PrivateKey.from_private_bytes(private)
    except ValueError as error:
        raise SecureError("a private key is none") from error
    return found.public_key().public_bytes_raw()


def agreed(private: bytes, public: bytes, purpose: bytes) -> bytes:
    """A key that two nodes share, for one purpose alone.

    Args:
        private: key of the one.
        public: key of the other.
        purpose: what it is for, the session and all else that tells it from others.

    Raises:
        SecureError: the public key is none.

    """
    try:
        one = X25519PrivateKey.from_private_bytes(private)
        shared = one.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # also where all agree on nothing: a point of low order
        raise SecureError("a public key is none") from error
    return derived(shared, purpose)


def derived(secret: bytes, purpose: bytes) -> bytes:
    """A key from a secret, for one purpose alone."""
    return HKDF(hashes.SHA256(), KEY, None, purpose).derive(secret)


def signing_key() -> bytes:
    """A new private key of Ed25519."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def verifying_key(private: bytes) -> bytes:
    """The public key of a private one that signs."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def sign(private: bytes, text: bytes) -> bytes:
    """Sign a text."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(text)


def is_signed(public: bytes, text: bytes, signature: bytes) -> bool:
    """Whether the owner of a public key has signed a text."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def seal(key: bytes, text: bytes, about: bytes) -> bytes:
    """Encrypt and authenticate.

    Args:
        key: of sender and receiver.
        text: the secret.
        about: what must be the same at the other end; it is not sent.

    """
    nonce = os.urandom(_NONCE)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, text, about)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """Decrypt.

    Raises:
        SecureError: it is not what was sealed with this key about this.

    """
    try:
        nonce, rest = sealed[:_NONCE], sealed[_NONCE:]
        return ChaCha20Poly1305(key).decrypt(nonce, rest, about)
    except (InvalidTag, ValueError) as error:
        raise SecureError("shares that were changed, or sealed for others") from error


def stream(key: bytes, length: int) -> Ring:
    """Numbers of 64 bits that look random to whoever has not the key: ChaCha20.

    Args:
        key: used for this stream and nothing else.
        length: n.

    Returns:
        Shape (n,).

    """
    cipher = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(cipher.update(bytes(8 * length)), dtype="<u8")


def summed(parts: Iterable[Ring], length: int) -> Ring:
    """Sum modulo 2^64; shape (n,)."""
    total = np.zeros(length, dtype=np.uint64)
    for part in parts:
        total += part
    return total
