"""Names and addresses that a server's certificate is valid for."""

import ipaddress
import re
from pathlib import Path

from cryptography import x509

# The SuperLink's own processes reach it over loopback, whatever its name is.
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


class KeysError(ValueError):
    """Keys that cannot be made as asked."""


def alternative_names(hosts: tuple[str, ...]) -> list[x509.GeneralName]:
    """Read DNS names and IP addresses; those of loopback are added.

    Raises:
        KeysError: one is neither.

    """
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys((*hosts, *LOOPBACK)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
            continue
        except ValueError:
            labels = host.split(".")
        # Four numbers are an address with a mistake, not a name.
        name = all(_LABEL.fullmatch(label) for label in labels)
        if not name or labels[-1].isdigit() or len(host) > 253:
            raise KeysError(
                f"--host {host!r}: expected a DNS name or an IP address, such as "
                "fl.example.org or 192.0.2.7, without a port"
            )
        names.append(x509.DNSName(host.lower()))
    return names


def of_certificate(file: Path) -> tuple[str, ...]:
    """Names and addresses of a certificate; none where there is none.

    Raises:
        KeysError: it cannot be read.

    """
    if not file.exists():
        return ()
    try:
        found = x509.load_pem_x509_certificate(file.read_bytes())
        kind = x509.SubjectAlternativeName
        names = found.extensions.get_extension_for_class(kind).value
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise KeysError(f"{file}: expected a server's certificate ({error})") from error
    addresses = names.get_values_for_type(x509.IPAddress)
    return (
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in addresses),
    )
