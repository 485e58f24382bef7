"""Long-term keys of nodes: who signs, and whom a node takes for one of its own.

The key is that with which a SuperNode is registered, an elliptic-curve key in OpenSSH
or PEM form. The server is not asked whose a key is: every node has the list itself.
"""

from collections.abc import Collection
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as serial
from cryptography.hazmat.primitives.asymmetric import ec

from ilora_app.secure.adverts import KeySet
from ilora_app.secure.errors import SecureError

_ECDSA = ec.ECDSA(hashes.SHA384())


@dataclass(frozen=True)
class Signer:
    """Signs for one node."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def read(cls, text: bytes) -> "Signer":
        """Read a private key.

        Raises:
            SecureError: it is none, or needs a password.

        """
        openssh = b"OPENSSH PRIVATE KEY" in text
        load = serial.load_ssh_private_key if openssh else serial.load_pem_private_key
        try:
            key = load(text, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SecureError("no private key, or one with a password") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise SecureError("no elliptic-curve key")
        return cls(key)

    @property
    def identity(self) -> bytes:
        """The public key, DER."""
        return _der(self.key.public_key())

    def sign(self, text: bytes) -> bytes:
        """Sign."""
        return self.key.sign(text, _ECDSA)


@dataclass(frozen=True)
class Roster:
    """The public keys of all nodes that may take part."""

    keys: Collection[bytes]

    @classmethod
    def read(cls, text: bytes) -> "Roster":
        """Read public keys: a line of OpenSSH each, empty lines and ``#`` left out.

        Raises:
            SecureError: a line is none.

        """
        keys = set()
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.strip().startswith(b"#"):
                continue
            try:
                key = serial.load_ssh_public_key(line.strip())
            except (ValueError, UnsupportedAlgorithm) as error:
                raise SecureError(f"line {number} is no public key") from error
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise SecureError(f"line {number} is no elliptic-curve key")
            keys.add(_der(key))
        return cls(frozenset(keys))

    def check(self, key_set: KeySet) -> None:
        """See that each node of a session is one of the roster, and each another.

        Raises:
            SecureError: one is not, or has not signed.

        """
        seen = set()
        for advert in key_set.adverts:
            if advert.identity not in self.keys:
                raise SecureError(f"node {advert.node} is not in the roster")
            if advert.identity in seen:
                raise SecureError(f"node {advert.node} has the key of another")
            seen.add(advert.identity)
            key = serial.load_der_public_key(advert.identity)
            assert isinstance(key, ec.EllipticCurvePublicKey)
            try:
                key.verify(advert.signature, advert.text(key_set.terms), _ECDSA)
            except InvalidSignature as error:
                raise SecureError(
                    f"node {advert.node} has not signed its keys"
                ) from error


def _der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serial.Encoding.DER, serial.PublicFormat.SubjectPublicKeyInfo
    )
