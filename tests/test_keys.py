"""Keys are what TLS and Flower accept, their owner's alone, and never replaced."""

import json
import os
import socket
import ssl
import stat
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_ssh_private_key,
    load_ssh_public_key,
)
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.deploy.keys import KeysError, Request, make

HOSTS = ("fl.example.org", "192.0.2.7")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "keys"
    make(Request(folder, HOSTS, nodes=2))
    return folder


def handshake(folder, host, ca=None):
    """A real TLS handshake in memory of this process, with the check of the name."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "server.crt", folder / "server.key")
    asking = ssl.create_default_context(cafile=(ca or folder) / "ca.crt")
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve():
        try:
            serving.wrap_socket(theirs, server_side=True).close()
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with asking.wrap_socket(ours, server_hostname=host) as session:
            return session.version()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("host", [*HOSTS, "localhost", "127.0.0.1", "::1"])
def test_tls_accepts_the_server_by_each_of_its_names(folder, host):
    assert handshake(folder, host) == "TLSv1.3"


def test_tls_refuses_another_name_and_another_ca(folder, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        handshake(folder, "other.example.org")
    make(Request(tmp_path, HOSTS, nodes=0))
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        handshake(folder, "localhost", ca=tmp_path)


def test_openssl_accepts_the_chain(folder):
    words = ["openssl", "verify", "-x509_strict", "-CAfile", folder / "ca.crt"]
    words += ["-verify_hostname", HOSTS[0], folder / "server.crt"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wrong = [w if w != HOSTS[0] else "other.example.org" for w in words]
    assert subprocess.run(wrong, capture_output=True, check=False).returncode != 0


def test_the_keys_of_nodes_are_what_flower_reads(folder):
    private = load_ssh_private_key((folder / "node-2").read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.curve.name == "secp384r1"
    public = load_ssh_public_key((folder / "node-2.pub").read_bytes())
    assert private.public_key() == public
    assert public != load_ssh_public_key((folder / "node-1.pub").read_bytes())


def test_ssh_keygen_reads_them_too(folder):
    words = ["ssh-keygen", "-y", "-f", folder / "node-1"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == (folder / "node-1.pub").read_text().split()[:2]


def test_private_files_are_their_owners_alone(folder):
    modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()}
    assert modes == {
        "ca.key": 0o600,
        "server.key": 0o600,
        "superexec.secret": 0o600,
        "node-1": 0o600,
        "node-2": 0o600,
        "ca.crt": 0o644,
        "server.crt": 0o644,
        "node-1.pub": 0o644,
        "node-2.pub": 0o644,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_renewed_certificate_is_accepted_by_the_nodes_of_before(folder, tmp_path):
    make(Request(tmp_path / "new", HOSTS, nodes=0, ca=folder))
    made = {file.name for file in (tmp_path / "new").iterdir()}
    assert made == {"ca.crt", "server.crt", "server.key"}  # no other secret
    assert handshake(tmp_path / "new", HOSTS[0], ca=folder) == "TLSv1.3"
    assert handshake(tmp_path / "new", HOSTS[0]) == "TLSv1.3"


def test_a_renewed_certificate_keeps_the_names_of_before(folder, tmp_path):
    """Nodes may use any of them, and compose's services use `superlink`."""
    make(Request(tmp_path / "new", ("new.example.org",), nodes=0, ca=folder))
    for host in ("new.example.org", *HOSTS):
        assert handshake(tmp_path / "new", host, ca=folder) == "TLSv1.3"


def test_a_disk_that_fills_up_leaves_no_half_set(tmp_path, monkeypatch):
    real, opened = os.open, []

    def full(path, *args, **more):
        opened.append(path)
        if len(opened) == 3:
            raise OSError(28, "No space left on device")
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(KeysError, match="No space left"):
        make(Request(tmp_path / "out", HOSTS, nodes=1))
    monkeypatch.undo()
    assert not list((tmp_path / "out").iterdir())
    make(Request(tmp_path / "out", HOSTS, nodes=1))


def test_a_ca_that_is_none_is_refused(folder, tmp_path):
    with pytest.raises(KeysError, match=r"expected a folder with ca\.crt and ca\.key"):
        make(Request(tmp_path / "out", HOSTS, nodes=0, ca=tmp_path))
    (tmp_path / "ca.crt").write_bytes((folder / "ca.crt").read_bytes())
    (tmp_path / "ca.key").write_bytes((folder / "server.key").read_bytes())
    with pytest.raises(KeysError, match=r"ca\.key is not the key of ca\.crt"):
        make(Request(tmp_path / "out", HOSTS, nodes=0, ca=tmp_path))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "host", ["fl.example.org:9091", "https://fl", "", "300.1.1.1", "-a", "a..b", "ä"]
)
def test_a_host_that_is_none_is_refused(tmp_path, host):
    with pytest.raises(KeysError, match="expected a DNS name or an IP address"):
        make(Request(tmp_path / "keys", (host,), nodes=1))
    assert not (tmp_path / "keys").exists()


def run(*words):
    return CliRunner().invoke(app, ["keys", *map(str, words)])


def test_the_command_says_what_goes_where_and_shows_no_key(tmp_path):
    done = run("--out", tmp_path / "keys", "--nodes", 2, "--host", "fl.example.org")
    assert done.exit_code == 0, done.output
    assert f"keep offline:       {tmp_path}/keys/ca.key" in done.output
    assert f"to node-2:          {tmp_path}/keys/node-2, " in done.output
    assert f"flwr supernode register {tmp_path}/keys/node-1.pub" in done.output
    assert "PRIVATE" not in done.output


def test_a_script_reads_where_every_file_goes_and_no_key(tmp_path):
    out = tmp_path / "keys"
    done = run("--out", out, "--nodes", 2, "--host", "fl.example.org", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["offline"] == [str(out / "ca.key")]
    assert said["nodes"]["node-2"] == [str(out / "node-2"), str(out / "ca.crt")]
    nodes = [file for files in said["nodes"].values() for file in files]
    everywhere = [*said["offline"], *said["superlink"], *nodes, *said["register"]]
    assert set(everywhere) == {str(file) for file in out.iterdir()}
    assert set(said["offline"]).isdisjoint([*said["superlink"], *nodes])
    assert "PRIVATE" not in done.output
    done = run("--out", tmp_path / "more", "--nodes", 1, "--nodes-only", "--json")
    said = json.loads(done.stdout)
    assert said["nodes"] == {"node-1": [str(tmp_path / "more" / "node-1")]}
    assert (said["offline"], said["superlink"]) == ([], [])
    words = ("--ca", out, "--nodes", 0, "--host", "fl.example.org", "--json")
    said = json.loads(run("--out", tmp_path / "new", *words).stdout)
    assert set(said["superlink"]) == {str(f) for f in (tmp_path / "new").iterdir()}


def test_the_command_overwrites_nothing(tmp_path):
    (tmp_path / "node-2").write_text("mine")
    (tmp_path / "server.key").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    done = run("--out", tmp_path, "--nodes", 2, "--host", "fl.example.org")
    assert done.exit_code == 2
    assert "has server.key, node-2 already" in done.output
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "node-2").read_text() == "mine"


def test_more_nodes_come_with_numbers_of_their_own(tmp_path):
    done = run("--out", tmp_path, "--nodes", 1, "--first", 4, "--nodes-only")
    assert done.exit_code == 0, done.output
    assert sorted(f.name for f in tmp_path.iterdir()) == ["node-4", "node-4.pub"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--host is missing"),
        (["--nodes-only", "--host", "a"], "expected no --host"),
        (["--host", "a:1"], "'a:1': expected a DNS name"),
        (["--host", "a", "--nodes", "0"], "--nodes 0: expected 1 or more (0 with --ca"),
        (["--nodes-only", "--nodes", "-1"], "--nodes -1: expected 1 or more"),
        (["--host", "a", "--ca", "b", "--nodes", "-1"], "expected 0 or more\n"),
    ],
)
def test_mistakes_are_said(tmp_path, words, expected):
    done = run("--out", tmp_path / "keys", *words)
    assert done.exit_code == 2
    assert expected in done.output
    assert not (tmp_path / "keys").exists()
    assert not (tmp_path / "keys").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--out", tmp_path / "file", "--host", "a")
    assert done.exit_code == 2
    assert "--out" in done.output
