"""An authority of the tests' own and what it signs, as a company's would be: clients are told of the authority alone."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Issued:
    """A server's certificate and key, and the authority that signed it."""

    authority: Path
    cert: Path
    key: Path


def _openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def issue(folder):
    """A new authority, and a certificate for loopback signed by it."""
    made = Issued(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl(*new, "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", folder / "ca-key.pem", "-out", made.authority)
    _openssl(*new, "-subj", "/CN=server", "-keyout", made.key, "-out", folder / "request.pem")
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n")
    _openssl(
        "x509", "-req", "-days", "2", "-in", folder / "request.pem", "-CA", made.authority, "-CAkey", folder / "ca-key.pem",
        "-CAcreateserial", "-extfile", folder / "extensions", "-out", made.cert,
    )  # fmt: skip
    made.key.chmod(0o600)
    return made
