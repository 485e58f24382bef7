"""How long certificates are valid: none outlives its CA."""

import pytest
from cryptography import x509
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.deploy import keys
from ilora_app.deploy.keys import KeysError, Request, make

HOSTS = ("fl.example.org",)


def certificate(file):
    return x509.load_pem_x509_certificate(file.read_bytes())


@pytest.fixture
def short(tmp_path, monkeypatch):
    """Folder of a CA that is valid for some days, or not any more."""

    def made(days):
        with monkeypatch.context() as patch:
            patch.setattr(keys, "CA_DAYS", days)
            make(Request(tmp_path / "keys", HOSTS, nodes=0, days=days))
        return tmp_path / "keys"

    return made


def test_days_are_those_of_the_server(tmp_path):
    make(Request(tmp_path, HOSTS, nodes=0, days=5000))
    for name in ("server.crt", "ca.crt"):
        found = certificate(tmp_path / name)
        assert (found.not_valid_after_utc - found.not_valid_before_utc).days == 5000


def test_a_renewed_certificate_ends_with_its_ca_at_the_latest(short, tmp_path):
    ca = short(100)
    out = tmp_path / "new"
    until = certificate(ca / "ca.crt").not_valid_after_utc.strftime("%Y-%m-%d")
    for days in (100, 365):
        with pytest.raises(KeysError) as caught:
            make(Request(out, HOSTS, nodes=0, days=days, ca=ca))
        said = str(caught.value)
        assert said.startswith(f"--days {days}: the CA in {ca} is valid until {until} ")
        assert said.endswith("expected 99 or less, or a new CA, made without --ca")
        assert not out.exists()
    make(Request(out, HOSTS, nodes=0, days=99, ca=ca))
    assert (
        certificate(out / "server.crt").not_valid_after_utc
        < certificate(ca / "ca.crt").not_valid_after_utc
    )


def test_a_ca_that_has_ended_signs_nothing(short, tmp_path):
    words = ["keys", "--out", tmp_path / "new", "--nodes", 0, "--days", 1]
    words += ["--host", *HOSTS, "--ca", short(0)]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 2
    assert "UTC; expected a new CA, made without --ca" in done.output
    assert not (tmp_path / "new").exists()
