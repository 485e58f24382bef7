"""Shares of a secret in a prime field."""

import contextlib

from ilora_app.secure import SecureError, shamir


def test_shares_are_those_of_a_prime_field():
    for base in (2, 3, 5, 7, 11):  # Fermat's test of the modulus
        assert pow(base, shamir.PRIME - 1, shamir.PRIME) == 1
    secret = bytes(range(32))
    shares = shamir.split(secret, 3, 5)
    for nodes in ((1, 2, 3), (5, 1, 4), (1, 2, 3, 4, 5)):
        by = shamir.weights(nodes)
        assert shamir.join({i: shares[i - 1] for i in nodes}, by) == secret
    by = shamir.weights((1, 2))
    with_two = {i: shares[i - 1] for i in (1, 2)}
    with contextlib.suppress(SecureError):
        assert shamir.join(with_two, by) != secret
