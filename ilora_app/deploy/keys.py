"""Keys of a federation: a CA, the server's certificate, and a key pair for each node.

A SuperNode knows the server by the CA's certificate; the SuperLink knows a SuperNode by
its public key, which is registered by hand. So nodes need no certificate. The SuperLink
and the process that runs its ServerApps share a secret.
"""

import contextlib
import datetime
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as serial
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ilora_app.deploy import hosts
from ilora_app.deploy.hosts import KeysError as KeysError

CA_DAYS = 3650


@dataclass(frozen=True)
class Request:
    """What to make.

    Args:
        out: folder that gets the files.
        hosts: DNS names and IP addresses of the SuperLink; none: nodes' keys alone.
        nodes: how many nodes get a key pair.
        first: number of the first of them.
        days: how long the server's certificate is valid.
        ca: folder with the ca.crt and ca.key to sign with; None: a new CA. The names
            of a server.crt in it are kept.

    """

    out: Path
    hosts: tuple[str, ...]
    nodes: int
    first: int = 1
    days: int = 365
    ca: Path | None = None

    @property
    def node_names(self) -> list[str]:
        """Names of the nodes' private files."""
        return [f"node-{self.first + i}" for i in range(self.nodes)]


def make(request: Request) -> list[Path]:
    """Make all keys, or none; returns the files.

    Raises:
        KeysError: a host that is neither a name nor an address, a file that exists
            already, or a CA that cannot be read or ends before the certificate would.

    """
    files: dict[str, tuple[bytes, bool]] = {}
    if request.hosts:
        before = hosts.of_certificate(request.ca / "server.crt") if request.ca else ()
        names = hosts.alternative_names((*request.hosts, *before))
        now = datetime.datetime.now(datetime.UTC)
        end = now + datetime.timedelta(days=request.days)
        if request.ca is None:
            last = now + datetime.timedelta(days=max(CA_DAYS, request.days))
            ca, ca_key = _certificate_authority(last)
            files["ca.key"] = (_pem(ca_key), True)
            files["superexec.secret"] = (secrets.token_hex(32).encode(), True)
        else:
            ca, ca_key = load_ca(request.ca)
            _check_end(request, ca.not_valid_after_utc, now)
        key = ec.generate_private_key(ec.SECP384R1())
        server = _server(names, key, end, ca, ca_key)
        files["ca.crt"] = (ca.public_bytes(serial.Encoding.PEM), False)
        files["server.crt"] = (server.public_bytes(serial.Encoding.PEM), False)
        files["server.key"] = (_pem(key), True)
    for name in request.node_names:
        key = ec.generate_private_key(ec.SECP384R1())
        public = key.public_key().public_bytes(
            serial.Encoding.OpenSSH, serial.PublicFormat.OpenSSH
        )
        files[name] = (_pem(key, serial.PrivateFormat.OpenSSH), True)
        files[f"{name}.pub"] = (public + f" {name}\n".encode(), False)
    return _write(request.out, files)


def load_ca(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Read ca.crt and ca.key.

    Raises:
        KeysError: one is missing, unreadable, or they do not belong together.

    """
    try:
        ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        key = serial.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeysError(
            f"--ca {folder}: expected a folder with ca.crt and ca.key, as this command "
            f"makes them ({error})"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeysError(f"--ca {folder}: ca.key is no EC key")
    if key.public_key() != ca.public_key():
        raise KeysError(f"--ca {folder}: ca.key is not the key of ca.crt")
    return ca, key


def _check_end(
    request: Request, last: datetime.datetime, now: datetime.datetime
) -> None:
    """Refuse a certificate that outlives its CA: nobody accepts it from then on."""
    if now + datetime.timedelta(days=request.days) > last:
        most = (last - now).days
        raise KeysError(
            f"--days {request.days}: the CA in {request.ca} is valid until "
            f"{last:%Y-%m-%d %H:%M} UTC; expected "
            f"{f'{most} or less, or ' if most > 0 else ''}a new CA, made without --ca"
        )


def _certificate_authority(
    end: datetime.datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP384R1())
    name = _name("ILoRA federation CA")
    builder = (
        _valid_until(end)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    )
    return builder.sign(key, hashes.SHA384()), key


def _server(
    names: list[x509.GeneralName],
    key: ec.EllipticCurvePrivateKey,
    end: datetime.datetime,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _valid_until(end)
        .subject_name(_name("ILoRA SuperLink"))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
    )
    return builder.sign(ca_key, hashes.SHA384())


def _valid_until(end: datetime.datetime) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        # Clocks of the nodes may be behind.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(end)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(
    key: ec.EllipticCurvePrivateKey,
    form: serial.PrivateFormat = serial.PrivateFormat.PKCS8,
) -> bytes:
    return key.private_bytes(serial.Encoding.PEM, form, serial.NoEncryption())


def _write(folder: Path, files: dict[str, tuple[bytes, bool]]) -> list[Path]:
    """Write (content, whether it is private) by name; nothing is overwritten."""
    there = [name for name in files if os.path.lexists(folder / name)]
    if there:
        raise KeysError(
            f"--out {folder} has {', '.join(there)} already, and nothing is "
            "overwritten; expected another folder"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, (content, private) in files.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            mode = 0o600 if private else 0o644
            with open(os.open(folder / name, flags, mode), "wb") as file:  # noqa: PTH123
                file.write(content)
    except OSError as error:
        for name in files:
            with contextlib.suppress(OSError):
                (folder / name).unlink()
        raise KeysError(f"--out {folder}: {error}") from error
    return [folder / name for name in files]
